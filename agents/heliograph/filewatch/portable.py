"""Callbacks that another process can call.

In: a function, or its name. Out: a `Callback`: by name where it can be imported, else pickled, by value for lambdas and
functions of `__main__` where dill or cloudpickle is installed. (`keeper.function_of` is the way back.)
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import pickle
import re
import sys
from collections.abc import Callable
from typing import Any

from heliograph.filewatch.config import BadWatch, Callback, Kind
from heliograph.filewatch.keeper import imported

_NAME = re.compile(r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$")


def portable(callback: Callable[..., Any] | str | Callback, argument: str = "callback") -> Callback:
    """What is needed to call it elsewhere. Raises BadWatch when it cannot be imported or pickled."""
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, str):
        return _named(callback, argument)
    if not callable(callback):
        raise BadWatch(argument, f"{callback!r} is neither a function nor 'package.module:function'")
    name = _import_name(callback)
    if name is not None:
        return Callback(name=name, search=_search())
    return _pickled(callback, argument)


def _named(name: str, argument: str) -> Callback:
    if not _NAME.match(name):
        raise BadWatch(argument, f"{name!r} is not of the form 'package.module:function'")
    try:
        found = imported(name)
    except Exception as error:
        raise BadWatch(argument, f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise BadWatch(argument, f"{name!r} is not a function")
    return Callback(name=str.__str__(name), search=_search())


def _import_name(callback: Any) -> str | None:
    """'module:function' when that leads to this very function, elsewhere too."""
    module, path = getattr(callback, "__module__", None), getattr(callback, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str) or module == "__main__" or module not in sys.modules:
        return None
    name = f"{module}:{path}"
    if not _NAME.match(name) or getattr(sys.modules[module], "__spec__", None) is None:
        return None  # made up at run time: nobody else could import it
    try:
        found = functools.reduce(getattr, path.split("."), sys.modules[module])
    except AttributeError:
        return None
    return name if found is callback else None


def _pickled(callback: Any, argument: str) -> Callback:
    name = _shown(callback)
    tried: list[str] = []
    for kind in ("pickle", "cloudpickle", "dill"):
        try:
            payload = _dumped(kind, callback)
        except ModuleNotFoundError as error:
            tried.append(f"{kind} is not installed" if error.name == kind else f"{kind}: {error}")
        except Exception as error:  # pickling runs the object's own code
            tried.append(f"{kind}: {error}")
        else:
            return Callback(name=name, kind=kind, payload=payload, search=_search())
    raise BadWatch(
        argument,
        f"{name} cannot be sent to another process ({'; '.join(tried)}). Put it into a module that can be imported"
        " there, or install cloudpickle or dill",
    )


def _dumped(kind: Kind, callback: Any) -> bytes:
    if kind == "pickle":
        buffer = io.BytesIO()
        _NothingOfMain(buffer).dump(callback)
        return buffer.getvalue()
    module: Any = importlib.import_module(kind)
    # With recurse dill takes only what the function uses along, not all of its module.
    payload: bytes = module.dumps(callback, recurse=True) if kind == "dill" else module.dumps(callback)
    return payload


class _NothingOfMain(pickle.Pickler):
    """Refuses what would be looked for in the other process's `__main__`."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type) or callable(value):
            if getattr(value, "__module__", None) == "__main__":
                raise pickle.PicklingError("it is part of __main__")
            if type(value).__module__ == "__main__":
                raise pickle.PicklingError("its class is part of __main__")
        return NotImplemented


def _shown(callback: Any) -> str:
    inner = callback
    while isinstance(inner, functools.partial):
        inner = inner.func
    module = getattr(inner, "__module__", None) or type(inner).__module__
    return f"{module}:{getattr(inner, '__qualname__', None) or type(inner).__qualname__}"


def _search() -> tuple[str, ...]:
    """Where modules are found here, as absolute paths; '' is where this process stands."""
    try:
        return tuple(dict.fromkeys(os.path.abspath(path) for path in sys.path))
    except OSError:  # the working directory is gone
        return tuple(path for path in sys.path if os.path.isabs(path))
