"""From what a person says (patterns, file types, a path, callbacks) to rules.

In: the arguments as `FileMonitor` documents them. Out: rules, patterns before file types. Pure: nothing is looked up,
unless a callback is given as a function or a name, which is then made portable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from heliograph.filewatch.config import BadWatch, Callback, Rule, compiled
from heliograph.filewatch.match import folder_below, suffix_pattern
from heliograph.filewatch.portable import portable

Calls = Callable[..., Any] | str | Callback | None


def rules_of(
    callback: Calls | Sequence[Any],
    pattern: str | Sequence[str] | None,
    filetype: str | Sequence[str] | None,
    path: str | None,
    *,
    root: str,
    check: Callable[[object], object] = compiled,
) -> tuple[Rule, ...]:
    """The rules. `callback` is one for everything, a list with one for each pattern and file type, or a list of
    (callback, pattern) pairs instead of both. `check` refuses a pattern. Raises BadWatch that names the argument."""
    if isinstance(callback, (list, tuple)) and any(isinstance(one, (list, tuple)) for one in callback):
        callback, pattern = _pairs(callback, pattern)
    patterns = _texts("pattern", pattern)
    for one in patterns:
        check(one)
    below = folder_below(path, root)
    suffixes = [suffix_pattern(one, below) for one in _texts("filetype", filetype)]
    if path is not None and not suffixes:
        raise BadWatch("path", "it is put before file types, and none are given (patterns match it themselves)")
    expressions = patterns + suffixes
    if not expressions:
        raise BadWatch("pattern", "nothing to look for: give patterns or file types")
    return _assigned(callback, expressions)


def _assigned(callback: Calls | Sequence[Any], expressions: list[str]) -> tuple[Rule, ...]:
    if not isinstance(callback, (list, tuple)):
        return (Rule(patterns=tuple(expressions), callback=_callback(callback)),)
    calls = [_callback(one, f"callback[{number}]") for number, one in enumerate(callback)]
    if len(calls) > len(expressions):
        raise BadWatch("callback", f"{len(calls)} callbacks for {len(expressions)} patterns and file types")
    if len(calls) == 1:
        return (Rule(patterns=tuple(expressions), callback=calls[0]),)
    if len(calls) < len(expressions):
        raise BadWatch(
            "callback",
            f"{len(calls)} callbacks for {len(expressions)} patterns and file types: give one for all, or one for each",
        )
    return tuple(Rule(patterns=(text,), callback=call) for call, text in zip(calls, expressions, strict=True))


def _callback(callback: Any, argument: str = "callback") -> Callback | None:
    return None if callback is None else portable(callback, argument)


def _pairs(callback: Sequence[Any], pattern: object) -> tuple[list[Any], list[Any]]:
    """The later form of the interface."""
    if pattern is not None:
        raise BadWatch("pattern", "callback holds (callback, pattern) pairs already")
    for number, pair in enumerate(callback):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise BadWatch(f"callback[{number}]", f"{pair!r} is not a (callback, pattern) pair")
    return [one for one, _ in callback], [one for _, one in callback]


def _texts(argument: str, value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise BadWatch(argument, f"{value!r} is neither a text nor a list of texts")
    return list(value)
