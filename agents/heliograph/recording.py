"""The run that this process records into: where it writes, and how it numbers its own tasks.

In: a journal, opened by `heliograph.run` here or named by `HELIOGRAPH_RUN` (set for the children of a run that are not
forked). Out: `current()`, the innermost run of this context, or None. Every process numbers tasks under an origin of
its own, so that no two processes need to agree on anything.
"""

from __future__ import annotations

import contextvars
import itertools
import json
import logging
import os
import threading
from dataclasses import asdict

from heliograph import journal as journals
from heliograph import state
from heliograph.interrupts import is_the_programs

_log = logging.getLogger("heliograph")
VARIABLE = "HELIOGRAPH_RUN"
"""The route of the run as JSON, for child processes. It holds no secret."""


class Recording:
    """One run in one process. A forked child goes on with the same object, under an origin of its own."""

    def __init__(self, journal: journals.Journal) -> None:
        self.journal = journal
        self._begin()

    def _begin(self) -> None:
        self.pid = os.getpid()
        self.origin = f"{state.host()}/{self.pid}/{os.urandom(4).hex()}"
        self._numbers = itertools.count()
        self._completed, self._failed = itertools.count(), itertools.count()

    def here(self) -> Recording:
        if self.pid != os.getpid():
            self._begin()
        return self

    def number(self) -> int:
        return next(self._numbers)

    def count(self, *, ok: bool) -> None:
        """One task more that ended. `next` of a count is atomic, so threads need no lock that a fork could inherit."""
        next(self._completed if ok else self._failed)

    def counts(self) -> tuple[int, int]:
        """(completed, failed) tasks of this process; ask once, at the end."""
        return next(self._completed), next(self._failed)

    def route(self) -> journals.Route:
        return self.journal.route


_in_context: contextvars.ContextVar[Recording | None] = contextvars.ContextVar("heliograph_run", default=None)
_open: list[Recording] = []
"""Runs open in this process, innermost last: for threads, which do not inherit the context they were started in."""
_joined: tuple[str, Recording] | None = None


def current() -> Recording | None:
    """The run to record into here, None outside of any. Never raises."""
    try:
        found = _in_context.get() or (_open[-1] if _open else _from_environment())
        return None if found is None else found.here()
    except Exception as error:
        if is_the_programs(error):
            raise
        _log.debug("No run to record into: %r", error)
        return None


class Opened:
    """Makes a recording the current one until `close`, for this process and the children that it starts."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._thread = threading.get_ident()
        self._before = os.environ.get(VARIABLE)
        self._variable = json.dumps({**asdict(recording.route()), "owner": False})
        self._token: contextvars.Token[Recording | None] | None = _in_context.set(recording)
        _open.append(recording)
        os.environ[VARIABLE] = self._variable

    def close(self) -> None:
        if self._recording in _open:
            _open.remove(self._recording)
        if self._token is not None and self._thread == threading.get_ident():
            try:
                _in_context.reset(self._token)
            except ValueError:  # closed in another context (an async task) than it was opened in
                _in_context.set(None)
        if os.environ.get(VARIABLE) == self._variable:
            if self._before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = self._before


def _from_environment() -> Recording | None:
    """The run of a parent process that did not fork this one (spawn, a started program)."""
    global _joined  # noqa: PLW0603 (one a process)
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    if _joined is None or _joined[0] != named:
        found = json.loads(named)
        _joined = (named, Recording(journals.journal_for(journals.Route(**{**found, "owner": False}))))
    return _joined[1]
