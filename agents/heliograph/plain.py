"""Plain Python: `with heliograph.run("name"):` makes what happens inside a run, like a Parsl workflow is one.

In: a name, and where records go when not to a database beside the program. Out: RunStarted and RunEnded, a journal, and
the detached process that takes the records. Without a usable folder the program runs all the same, unrecorded.
"""

from __future__ import annotations

import getpass
import logging
import os
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from heliograph import launch, state
from heliograph.executors import monitored
from heliograph.failure import redact
from heliograph.journal import Journal, Route, close_run, now
from heliograph.messages import RunEnded, RunStarted
from heliograph.recording import Opened, Recording
from heliograph.spans import guarded
from heliograph.tasks import task
from heliograph.zone import local_zone

if TYPE_CHECKING:
    from heliograph.filewatch.monitor import FileMonitor

__all__ = ["Run", "monitored", "run", "task"]
_log = logging.getLogger("heliograph")


class Run:
    """A run of this program, open between `__enter__` and `__exit__`. `id` names it everywhere."""

    def __init__(
        self,
        name: str = "",
        *,
        version: str = "",
        tags: Mapping[str, str] | None = None,
        bus: str | None = None,
        hub: str | None = None,
        database: str | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        sample_interval: float = 10.0,
        program: str = "python",
        file_monitor: FileMonitor | None = None,
    ) -> None:
        self.id = str(uuid.uuid4())
        self.name = name or os.path.basename(sys.argv[0] or "") or "python"
        self.run_dir = ""
        self._version, self._tags, self._program = version, tags or {}, program
        self._bus, self._hub, self._database = bus, hub, database
        self._folder, self._interval = run_dir, sample_interval
        self._recording: Recording | None = None
        self._opened: Opened | None = None
        self._monitor = file_monitor
        self._watch: Any = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"<heliograph run {self.name!r} {self.id}>"

    @property
    def recording(self) -> Recording | None:
        """Where its tasks are recorded; None before and after, and where it could not be opened."""
        return self._recording

    def __enter__(self) -> Run:
        self._pid = os.getpid()
        guarded(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        # A child that was forked inside of the block leaves it, too: the run goes on in its parent.
        if self._pid == os.getpid():
            guarded(lambda: self.end(_ending(error)))
        return False

    def end(self, outcome: str | None = None) -> None:
        """Close the run. `outcome` says why it failed; None is a good end."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        if self._opened is not None:
            self._opened.close()
        if self._watch is not None:  # it goes on by itself until its last files are done with
            self._watch.end()
        at, mono = now()
        completed, failed = recording.counts()
        recording.journal.append(RunEnded(at=at, mono=mono, completed=completed, failed=failed, exit=outcome))
        recording.journal.close()
        close_run(self.id)  # what else in this process records for this run, such as a watch left to the service

    def _start(self) -> None:
        folder = _run_folder(self._folder, self.id)
        self.run_dir = str(folder)
        route = Route(
            run=self.id, run_dir=self.run_dir, hub=self._hub, owner=True, sample_interval=float(self._interval)
        )
        self._recording = Recording(Journal.open(route))
        self._recording.journal.append(self._started())
        self._opened = Opened(self._recording)
        launch.start(
            self.id,
            self.run_dir,
            bus=self._bus,
            hub=self._hub,
            database=self._database,
            config_run_dir=str(folder.parent),
            interval=float(self._interval),
        )
        if self._monitor is not None:
            from heliograph.filewatch.attach import opened

            self._watch = opened(self._monitor, route)

    def _started(self) -> RunStarted:
        at, mono = now()
        return RunStarted(
            at=at,
            mono=mono,
            name=str(self.name),
            version=str(self._version),
            owner=guarded(getpass.getuser) or str(os.getuid()),
            host=state.host(),
            run_dir=self.run_dir,
            program=self._program,
            python=".".join(map(str, sys.version_info[:3])),
            zone=local_zone(),
            utc_offset=time.localtime().tm_gmtoff,
            tags={str(key): str(value) for key, value in self._tags.items()},
            pid=os.getpid(),
            sample_interval=float(self._interval),
        )


run = Run
"""`with heliograph.run("name", tags=…, bus=…, database=…, file_monitor=…) as run:`; by default the records go to
`runinfo/monitoring.db` in the working directory, and with a hub's 'host:port' to where the hub says."""


def _run_folder(named: str | os.PathLike[str] | None, run_id: str) -> Path:
    """Folder of the run, made: `runinfo/run-…` (Parsl numbers its own there), else one in the state folder."""
    wanted = Path(named) if named is not None else Path("runinfo") / f"run-{run_id[:8]}"
    wanted = wanted.absolute()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if os.access(wanted, os.W_OK | os.X_OK):
            return wanted
        reason: object = "not writable"
    except OSError as error:
        reason = error
    other = state.state_folder() / "runs" / run_id
    _log.warning("The run directory %s cannot be used (%s); %s is used instead", wanted, reason, other)
    try:
        state.own_folder(state.state_folder(), ours=False)
        other.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        _log.warning("No run directory can be made, so nothing takes the records of this run: %s", error)
    return other


def _ending(error: BaseException | None) -> str | None:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return None
    text = guarded(lambda: redact(str(error), 500)) or ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
