"""A request to stop that wakes whoever waits.

In: `ask()` from a signal handler or another thread. Out: `asked`, and `wait` that returns early.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType


class Stop:
    """A flag with a pipe behind it. threading.Event can deadlock when its `set` runs in a signal handler of the
    thread that is inside `wait`; a write to a pipe cannot."""

    def __init__(self) -> None:
        self.asked = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        os.set_blocking(self._read, False)

    def ask(self) -> None:
        if not self.asked:
            self.asked = True
            os.write(self._write, b"x")

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the request; returns whether it has come. The pipe is never emptied: it stays."""
        if not self.asked and seconds > 0:
            select.select([self._read], [], [], seconds)
        return self.asked

    def on_signals(self, *numbers: int) -> None:
        """Ask to stop at these signals (default: SIGTERM and SIGINT). Main thread only."""
        for number in numbers or (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.ask()

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
