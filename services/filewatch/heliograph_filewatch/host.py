"""The process of one watch: `python -m heliograph_filewatch.host FOLDER PID`, started by the service.

In: on standard input a job as one line of JSON, then `end` or `leave`; its end means that the service is gone. Out:
records in the watch's outbox, an account of itself as lines of JSON on standard output, an exit code. A process of its
own, because nothing else bounds what a regular expression or a file system that hangs can do to the other watches.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.notify import Notifier, notifier
from heliograph.messages import Record
from heliograph_filewatch.admit import Job
from heliograph_filewatch.outbox import Outbox

ENDED, LEFT, CANNOT, UNHEARD = 0, 10, 11, 12
"""Exit codes: the watch has ended; it goes on when the service does; it cannot be (the reason was told); what it found
could not be written down, so another process has to find it once more."""
TELL = 2.0
LOOK = 0.5
"""Seconds between looks at what the service says."""
MAIL_LEFT = 30.0
"""Seconds for notices that wait when the watch has ended."""
_SECRET = (
    *("HELIOGRAPH_BUS", "HELIOGRAPH_DATABASE", "HELIOGRAPH_SMTP_", "HELIOGRAPH_TOKEN", "HELIOGRAPH_JOIN_TOKEN"),
    *("HELIOGRAPH_READ_TOKEN", "HELIOGRAPH_SIGNING_SECRET", "HELIOGRAPH_PUBLIC_BUS", "HELIOGRAPH_DASHBOARD_"),
)
"""How names of variables begin that callbacks do not inherit."""


def main(folder: Path, service: int) -> int:
    _die_with_service(service)
    line, rest = _first_line()
    job = msgspec.json.decode(line, type=Job)
    notify = notifier(email=job.email, webhook=job.webhook, about=_about(job))
    for name in [name for name in os.environ if name.startswith(_SECRET)]:
        del os.environ[name]  # callbacks are not ours, and inherit this
    outbox = Reporter(Outbox(folder / "outbox"))
    signal.setitimer(signal.ITIMER_VIRTUAL, job.step_cpu)  # its signal ends this process
    try:
        engine = Engine(job.config, report=outbox, notify=notify)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    except (BadWatch, OSError) as error:
        _tell(cannot=str(error))
        return CANNOT
    return _Host(job, engine, notify, outbox, said=rest).run()


class Reporter:
    """Takes the engine's records. What the engine could not report it counts as begun by this process, and the process
    that comes after takes it up: so the answer to a full disk is to end."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.failed: OSError | None = None

    def __call__(self, record: Record) -> None:
        try:
            self._outbox.append(record)
        except OSError as error:
            self.failed = error
            raise

    def close(self) -> None:
        self._outbox.close()


class _Host:
    """Steps the engine until it has ended or the service wants it to."""

    def __init__(self, job: Job, engine: Engine, notify: Notifier, outbox: Reporter, *, said: bytes = b"") -> None:
        self._job, self._engine, self._notify, self._outbox = job, engine, notify, outbox
        self._said = bytearray(said)
        self._tell_at = 0.0
        self._reason = "ended"
        self._leave_at: float | None = None
        os.set_blocking(0, False)

    def run(self) -> int:
        while not self._engine.finished:
            if os.path.realpath(self._job.config.root) != self._job.config.root:
                return self._close("stopped: the root is not the folder any more that was admitted")
            signal.setitimer(signal.ITIMER_VIRTUAL, self._job.step_cpu)  # its signal ends this process
            pause = self._engine.step(time.monotonic())
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            if self._outbox.failed is not None:
                _tell(trouble=str(self._outbox.failed))
                return UNHEARD
            self._report()
            self._listen()
            if self._leave_at is not None and (not self._engine.stats.running or time.monotonic() >= self._leave_at):
                return self._left()
            if not self._engine.finished:
                self._engine.wait(min(pause, LOOK))
        return self._close(self._reason)

    def _listen(self) -> None:
        """What the service wants; when it is gone, this ends at once and is begun again by the next service."""
        while select.select([0], [], [], 0)[0]:
            data = os.read(0, 4096)
            if not data:
                os._exit(LEFT)
            self._said += data
        while b"\n" in self._said:
            line, _, rest = bytes(self._said).partition(b"\n")
            self._said = bytearray(rest)
            word, _, more = line.decode(errors="replace").partition(" ")
            if word == "end":
                self._reason = more or "ended"
                self._engine.end(time.monotonic())
            elif word == "leave":
                self._leave_at = time.monotonic() + float(more or 0)

    def _report(self) -> None:
        for record in self._notify.failed():
            self._outbox(record)
        moment = time.monotonic()
        if moment >= self._tell_at:
            self._tell_at = moment + TELL
            stats = self._engine.stats
            _tell(**{name: getattr(stats, name) for name in stats.__dataclass_fields__}, unsent=self._notify.unsent)

    def _left(self) -> int:
        """What is not done will be, after the service has started again."""
        self._notify.close(1.0)
        self._report()
        return LEFT

    def _close(self, reason: str) -> int:
        self._notify.close(MAIL_LEFT)
        self._tell_at = 0.0
        self._report()
        unsent = self._notify.unsent
        if unsent:
            reason = f"{reason}; {unsent} notifications not sent, the last: {self._notify.trouble}"
        self._engine.close(reason)
        if self._outbox.failed is not None:
            return UNHEARD
        self._outbox.close()
        return ENDED


def _first_line() -> tuple[bytes, bytes]:
    """The job, and what the service has said behind it already (a buffered reader would keep that to itself)."""
    data = b""
    while b"\n" not in data:
        more = os.read(0, 1 << 16)
        if not more:
            os._exit(LEFT)
        data += more
    line, _, rest = data.partition(b"\n")
    return line, rest


def _about(job: Job) -> dict[str, str]:
    about = {"run": job.run}
    if job.config.number is not None:
        about["task"] = str(job.config.number)
    return about


def _tell(**said: Any) -> None:
    try:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    except OSError:  # the service is gone, or does not read: it is told again
        return


def _die_with_service(service: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != service:  # it died before that
        os._exit(LEFT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
