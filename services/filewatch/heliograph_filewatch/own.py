"""The runs that the watch file's own watches belong to: each name in it is one run, which goes on over restarts.

In: the watch file. Out: jobs for its watches; records that a run began, is alive, and has ended when the file names it
no more.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
import uuid
from contextlib import suppress

from heliograph import state
from heliograph.messages import Record, RunEnded, RunHeartbeat, RunStarted
from heliograph.payload import now
from heliograph.zone import local_zone
from heliograph_filewatch.admit import Job, admit_entry
from heliograph_filewatch.config import WatchFile
from heliograph_filewatch.kept import About, Kept, key_of
from heliograph_filewatch.outbox import Outbox

PROGRAM = "filewatch"
BEAT = 20.0
"""Seconds between signs of life: three to a lease."""


class OwnRuns:
    """Each has an outbox of its own, in a folder of a watch without a name."""

    def __init__(self, kept: Kept, watches: WatchFile) -> None:
        self._kept, self._watches = kept, watches
        self._ids = kept.run_ids()
        self._wanted = dict.fromkeys(entry.run for entry in watches.entries)
        self._outboxes: dict[str, Outbox] = {}
        self._beat_at = 0.0

    def jobs(self) -> dict[str, Job]:
        """The watches of the file, by key. Raises Refused for one that cannot be."""
        for name in self._wanted:
            self._ids.setdefault(name, str(uuid.uuid4()))
        found: dict[str, Job] = {}
        for entry in self._watches.entries:
            run = self._ids[entry.run]
            key = key_of(run, entry.name)
            found[key] = admit_entry(entry, run, self._watches.limits, memory=self._kept.folder(key) / "memory.db")
        return found

    def begin(self) -> None:
        """Tell of new runs, and of those that are not wanted any more."""
        known = self._kept.run_ids()
        self._kept.keep_run_ids({name: self._ids[name] for name in self._wanted})
        for name in self._wanted:
            self._outboxes[name] = self._outbox(self._ids[name])
            if name not in known:
                self._tell(name, _started(name))
        for name in known.keys() - self._wanted.keys():
            self._outboxes[name] = self._outbox(known[name])
            at, mono = now()
            self._tell(name, RunEnded(at=at, mono=mono))
            self._outboxes.pop(name).close()

    def beat(self) -> None:
        """A sign of life, when it is time."""
        moment = time.monotonic()
        if moment < self._beat_at:
            return
        self._beat_at = moment + BEAT
        for name in self._outboxes:
            at, mono = now()
            self._tell(name, RunHeartbeat(at=at, mono=mono))

    def _tell(self, name: str, record: Record) -> None:
        with suppress(OSError):  # a full disk: the next sign of life says as much
            self._outboxes[name].append(record)

    def _outbox(self, run: str) -> Outbox:
        return Outbox(self._kept.begin(About(run=run, watch="")) / "outbox")


def _started(name: str) -> RunStarted:
    at, mono = now()
    try:
        owner = getpass.getuser()
    except (KeyError, OSError):
        owner = str(os.getuid())
    return RunStarted(
        at=at,
        mono=mono,
        name=name,
        owner=owner,
        host=state.host(),
        program=PROGRAM,
        python=".".join(map(str, sys.version_info[:3])),
        zone=local_zone(),
        utc_offset=time.localtime().tm_gmtoff,
        pid=os.getpid(),
    )
