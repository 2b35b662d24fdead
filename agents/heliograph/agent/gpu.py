"""GPUs of this node, read through NVIDIA's library where it can be imported (`pip install heliograph[gpu]`).

In: nvidia-ml-py, loaded at the first read. Out: one `Gpu` a device. A node without the library or without a driver has
no GPUs; a driver that fails is said once in the log and then left alone.
"""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Callable
from typing import Any

from heliograph.messages import Gpu

_log = logging.getLogger("heliograph.agent")


class Gpus:
    """Reads all devices. `load` gives the library, so that tests bring their own; it may raise ImportError."""

    def __init__(self, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")) -> None:
        self._load = load
        self._library: Any = None
        self._devices: list[Any] = []
        self._asked = False

    def read(self) -> list[Gpu]:
        """The devices now; [] when there are none that can be read. Never raises."""
        if not self._asked:
            self._asked = True
            self._open()
        return [self._device(index, handle) for index, handle in enumerate(self._devices)]

    def close(self) -> None:
        """Give the driver back. Reading goes on finding nothing."""
        if self._library is not None:
            self._try(self._library.nvmlShutdown)
        self._library, self._devices = None, []

    def _open(self) -> None:
        try:
            self._library = self._load()
        except ImportError:
            return  # not asked for on this node
        try:
            self._library.nvmlInit()
            count = int(self._library.nvmlDeviceGetCount())
            self._devices = [self._library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except Exception as error:  # the library's errors have no common base until it is loaded
            _log.warning("GPUs are not sampled: %r", error)
            self._library, self._devices = None, []

    def _device(self, index: int, handle: Any) -> Gpu:
        nvml = self._library
        memory = self._try(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        busy = self._try(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        power = self._try(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000)
        heat = self._try(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        name = self._try(lambda: nvml.nvmlDeviceGetName(handle))
        return Gpu(
            index=index,
            name=name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or ""),
            utilisation=_finite(busy),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            power=_finite(power),
            temperature=_finite(heat),
        )

    @staticmethod
    def _try(read: Callable[[], Any]) -> Any:
        """A single value; None where this device does not have it (many lack a power meter, for instance)."""
        try:
            return read()
        except Exception:
            return None


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
