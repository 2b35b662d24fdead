"""The process of one watch, as the service sees it.

In: a job. Out: a process that is started, told to end or to leave, started again when it dies, and what it says of
itself.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

import msgspec

from heliograph.background import settled
from heliograph_filewatch.admit import Job
from heliograph_filewatch.host import CANNOT, ENDED, LEFT

log = logging.getLogger("heliograph.filewatch")
_FIRST, _LONGEST = 0.5, 60.0
STEADY = SILENT = 60.0
_LINE = 1 << 16


class Fate(Enum):
    """What became of a watch's process."""

    RUNS = "runs"
    AGAIN = "again"
    """It died and is started again, after a while."""
    ENDED = "ended"
    """The watch has ended, and said so itself."""
    RUNAWAY = "runaway"
    """It used too much processor time in one step."""
    CANNOT = "cannot"
    """It cannot be as it is; `trouble` says why."""


class Child:
    """One watch's process. `status` is what it said last."""

    def __init__(self, job: Job, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.job = job
        self.status: dict[str, float] = {}
        self.trouble = ""
        self.restarts = 0
        self._about = {"run": job.run}
        self._folder, self._clock = folder, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._heard = self._not_before = 0.0
        self._failures = 0
        self._said = b""
        self._end: str | None = None

    def start(self) -> None:
        """Raises OSError."""
        self._began = self._heard = self._clock()
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heliograph_filewatch.host", str(self._folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=settled(os.environ),
        )
        assert self._process.stdout is not None  # noqa: S101 - piped
        os.set_blocking(self._process.stdout.fileno(), False)
        self._say(msgspec.json.encode(self.job).decode())
        if self._end is not None:
            self._say(f"end {self._end}")

    def end(self, reason: str) -> None:
        """One last scan, and then close."""
        if self._end is None:
            self._end = " ".join(reason.split())
            self._say(f"end {self._end}")

    def leave(self, seconds: float) -> None:
        """Stop for now, when running callbacks have ended, at most in so many seconds."""
        self._say(f"leave {seconds:g}")

    def look(self) -> Fate:
        """How it is; starts it again when that is due. Called now and then."""
        self._hear()
        if self._process is None:
            if self._clock() >= self._not_before:
                self.restarts += 1
                self._try()
            return Fate.RUNS if self._process else Fate.AGAIN
        code = self._process.poll()
        if code is None:
            return Fate.RUNS
        self._hear()
        self._put_away()
        if code == ENDED:
            return Fate.ENDED
        if code == -signal.SIGVTALRM:
            return Fate.RUNAWAY
        if code == CANNOT:
            return Fate.CANNOT
        self._later(code)
        return Fate.AGAIN

    @property
    def silent(self) -> bool:
        """Whether it has said nothing for a minute: it hangs, as on a file server that does not answer."""
        return self._process is not None and self._clock() - self._heard > SILENT

    def gone(self) -> bool:
        """Whether it has no process now."""
        if self._process is not None and self._process.poll() is not None:
            self._hear()
            self._put_away()
        return self._process is None

    def retry(self) -> None:
        """Try a watch again that could not be."""
        self._later(CANNOT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # in the kernel, on a dead file server: it ends when it can
                self._process.wait(2.0)
            self._put_away()

    def _try(self) -> None:
        try:
            self.start()
        except OSError as error:
            log.warning(
                "the process of watch %s cannot be started: %s", self.job.config.watch, error, extra=self._about
            )
            self._later(None)

    def _later(self, code: int | None) -> None:
        self._failures = 0 if self._clock() - self._began > STEADY else self._failures + 1
        pause = min(_LONGEST, _FIRST * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._not_before = self._clock() + pause
        if code not in (LEFT, CANNOT):
            why = f"{code} ({self.trouble})" if self.trouble else str(code)
            watch = self.job.config.watch
            log.error("the process of watch %s ended with %s; again in %.1f s", watch, why, pause, extra=self._about)

    def _say(self, line: str) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with suppress(OSError):  # it has died: that shows by itself
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

    def _hear(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        with suppress(BlockingIOError, OSError):
            while data := os.read(process.stdout.fileno(), 65536):
                self._said = (self._said + data)[-_LINE:]
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            with suppress(ValueError):
                said = json.loads(line)
                self._heard = self._clock()
                self.trouble = str(said.pop("cannot", said.pop("trouble", self.trouble)))
                self.status.update({k: float(v) for k, v in said.items() if isinstance(v, (int, float))})

    def _put_away(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
