"""Exceptions that are the program's own, though they come out of our code: its signal handlers run wherever it is.

In: an exception caught at the border to the user's program. Out: whether a signal handler of the program raised it. A
watchdog (`signal.alarm` and a handler that raises TimeoutError) must reach the program also when it rings in here.
"""

from __future__ import annotations

import signal
import threading


def is_the_programs(error: BaseException) -> bool:
    """Whether one of the functions that this exception passed through is a signal handler."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_code in handlers:
            return True
        place = place.tb_next
    return False


def _code(handler: object) -> object:
    """The code of a function, a method or a callable object."""
    function = getattr(handler, "__func__", handler)
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - its code is wanted, not whether it is there
    return getattr(function, "__code__", None) or getattr(call, "__code__", None)
