"""Numbers as plotly takes them with the fewest bytes: base64 of a typed array instead of digits.

In: numpy arrays. Out: `{"dtype", "bdata"}` objects (plotly.js reads them since 2.35), in the smallest type that holds
the numbers exactly (integers) or to seven digits (others).
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = (("u1", np.uint8), ("i2", np.int16), ("i4", np.int32))


def packed(values: NDArray[Any]) -> dict[str, str]:
    """One- or two-dimensional numbers; NaN is a gap. Times in milliseconds must come as float64 and stay so."""
    name, array = _smallest(values)
    made = {"dtype": name, "bdata": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")}
    if values.ndim > 1:
        made["shape"] = ", ".join(str(n) for n in values.shape)
    return made


def unpacked(made: dict[str, str]) -> NDArray[Any]:
    """The array again: for tests, and for whoever wants to know what is in a figure."""
    array = np.frombuffer(base64.b64decode(made["bdata"]), dtype=np.dtype(made["dtype"]))
    return array.reshape([int(n) for n in made["shape"].split(",")]) if "shape" in made else array


def _smallest(values: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    if values.dtype == np.float64:
        return "f8", values
    if values.dtype == np.float32:
        return "f4", values
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for name, kind in _TYPES:
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return name, values.astype(kind)
    return "f8", values.astype(np.float64)
