"""What a failed try says about itself: exception type, message, place, traceback and exit code, redacted and cut.

In: an exception, or Parsl's RemoteExceptionWrapper (known by its name; Parsl is never imported here), and the
patterns of `HELIOGRAPH_REDACT`. Out: a frozen `Failure` of short texts. Slow paths are allowed here: a try fails once.
"""

from __future__ import annotations

import os
import re
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from heliograph import settings
from heliograph.payload import clip

MESSAGE_LIMIT = 4096
TRACEBACK_LIMIT = 16384
_RAW_LIMIT = 1 << 18
"""Characters looked at by redaction patterns, so that a message of gigabytes costs no time."""
_REDACTED = "[redacted]"
_WITHHELD = "[withheld: HELIOGRAPH_REDACT has a pattern that is no regular expression]"
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]+(?=@)")
_LIBRARIES = (os.path.dirname(os.__file__) + os.sep, "<frozen ", f"{os.sep}site-packages{os.sep}")
_OURS = (os.path.dirname(__file__) + os.sep, f"{os.sep}parsl{os.sep}")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Every text is redacted and at most its limit long; None is unknown."""

    exc_type: str | None = None
    exc_message: str | None = None
    exc_place: str | None = None
    traceback: str | None = None
    exit: int | None = None


def is_wrapper(outcome: object) -> bool:
    """Whether a returned value is Parsl's RemoteExceptionWrapper. Asks the type only: a user's object may answer
    `hasattr` with anything."""
    return type(outcome).__name__ == "RemoteExceptionWrapper" and type(outcome).__module__.startswith("parsl.")


def describe(outcome: Any) -> Failure:
    """The failure of an exception or of a RemoteExceptionWrapper. Never raises: what cannot be told is None."""
    try:
        error, trace = _unwrapped(outcome) if is_wrapper(outcome) else (outcome, outcome.__traceback__)
    except Exception:
        return Failure(exc_type=_type_name(type(outcome)))
    return Failure(
        exc_type=_type_name(type(error)),
        exc_message=_guarded(lambda: clean(str(error), MESSAGE_LIMIT)),
        exc_place=_guarded(lambda: _place(trace)),
        traceback=_guarded(lambda: clean(_formatted(error, trace), TRACEBACK_LIMIT)),
        exit=_guarded_exit(error),
    )


def clean(text: str, limit: int) -> str:
    """The text without what the patterns match, at most `limit` characters, encodable as UTF-8."""
    text = _clipped(text, _RAW_LIMIT)
    for pattern in _patterns(settings.redaction()):
        if pattern is None:
            return _WITHHELD
        text = pattern.sub(_REDACTED, text)
    return _clipped(text, limit)


def redact(text: str | None, limit: int = MESSAGE_LIMIT) -> str | None:
    """`clean` for a text that may be unknown."""
    return None if text is None else clean(text, limit)


_compiled: tuple[str, tuple[re.Pattern[str] | None, ...]] = ("", (_PASSWORD_IN_URL,))


def _patterns(setting: str) -> tuple[re.Pattern[str] | None, ...]:
    """Patterns of the setting; a None among them means one that is broken. Kept until the setting changes."""
    global _compiled  # noqa: PLW0603 (one cache a process)
    if _compiled[0] != setting:
        found: list[re.Pattern[str] | None] = [_PASSWORD_IN_URL]
        for line in setting.splitlines():
            if line.strip():
                try:
                    found.append(re.compile(line))
                except re.error:
                    found.append(None)
        _compiled = (setting, tuple(found))
    return _compiled[1]


def _unwrapped(wrapper: Any) -> tuple[BaseException, TracebackType | None]:
    trace = wrapper.e_traceback
    return wrapper.e_value, None if trace is None else trace.as_traceback()


def _type_name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module in {"builtins", "__main__"} else f"{module}.{kind.__qualname__}"


def _formatted(error: BaseException, trace: TracebackType | None) -> str:
    return "".join(traceback.format_exception(type(error), error, trace))


def _place(trace: TracebackType | None) -> str | None:
    """Innermost frame of the user's code; of a library when there is none; never ours or Parsl's when avoidable."""
    user = library = last = None
    while trace is not None:
        code = trace.tb_frame.f_code
        last = f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
        if not any(part in code.co_filename for part in _OURS):
            library = last
            if not any(part in code.co_filename for part in _LIBRARIES):
                user = last
        trace = trace.tb_next
    place = user or library or last
    return None if place is None else clean(place, 1024)


def _guarded(tell: Any) -> str | None:
    try:
        return str(tell())
    except Exception:  # a user's __str__ may raise anything
        return None


def _guarded_exit(error: BaseException) -> int | None:
    """Exit code of what a task ran: Parsl's `exitcode`, subprocess's `returncode`, SystemExit's `code`."""
    try:
        values = vars(error)
        code = values.get("exitcode", values.get("returncode"))
        if code is None and isinstance(error, SystemExit):
            code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
        return code if type(code) is int and -(1 << 31) <= code < 1 << 31 else None
    except Exception:
        return None


def _clipped(text: str, limit: int) -> str:
    return clip(text, limit) or ""
