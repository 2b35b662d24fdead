"""One detached watch: an engine, its journal, its notices, from the plan to the end.

In: a plan, in a process of its own. Out: records in the run's journal, or in the log where there is no run; an end that
says what was left undone when the process is asked to go (SIGTERM).
"""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from heliograph import journal as journals
from heliograph import state
from heliograph.filewatch.config import BadWatch, Notify, WatchConfig
from heliograph.filewatch.engine import Engine, Report
from heliograph.filewatch.plan import END, Plan
from heliograph.messages import Record, kind_of, to_builtins

log = logging.getLogger("heliograph.filewatch")

LOOK = 0.5
"""Seconds between looks at whether it shall end."""
FLUSH = 10.0
"""Seconds that notices have to be sent at the end."""


class Watching:
    """Runs until the watch is over; `terminate` may be called by a signal handler."""

    def __init__(self, plan: Plan, place: Path) -> None:
        self._plan, self._place = plan, place
        self._terminated = False

    def terminate(self, *_: object) -> None:
        self._terminated = True

    def run(self) -> None:
        """Open, watch, finish, close."""
        plan = self._plan
        signal.signal(signal.SIGTERM, self.terminate)
        report = reporter(plan)
        notifier = _notifier(plan)
        try:
            engine = _engine(plan.config, report, notifier)
        except (BadWatch, OSError) as error:
            log.warning("Watch %s cannot begin: %s", plan.config.watch, error)
            return
        try:
            self._loop(engine, notifier, report)
        finally:
            engine.close("failed")
            if notifier is not None:
                notifier.close(0.0 if self._terminated else FLUSH)
                _tell_failures(notifier, report)
            if plan.route is not None:
                journals.close_run(plan.route.run)

    def _loop(self, engine: Engine, notifier: Any, report: Report) -> None:
        reason, deadline = "", float("inf")
        while True:
            now = time.monotonic()
            if self._terminated:
                engine.close("terminated")
                return
            if not reason:
                reason = self._over()
                if reason:
                    engine.end(now)
                    deadline = now + self._plan.linger
            pause = engine.step(now)
            if notifier is not None:
                _tell_failures(notifier, report)
            if reason and (engine.finished or now >= deadline):
                engine.close(reason if engine.finished else f"{reason}; out of time after {self._plan.linger:g} s")
                return
            engine.wait(min(pause, LOOK))

    def _over(self) -> str:
        """Why it is time to finish, '' when it is not."""
        if os.path.exists(self._place / END):
            return "ended"
        if not state.process_alive(self._plan.owner_pid, self._plan.owner_start):
            return "its program is gone"
        if not os.path.isdir(self._place):
            return "its plan is gone"
        return ""


def _engine(config: WatchConfig, report: Report, notify: Notify | None) -> Engine:
    """With a memory if there can be one; a watch that forgets is better than none. Raises BadWatch, OSError."""
    try:
        return Engine(config, report=report, notify=notify)
    except OSError as error:
        if config.memory is None:
            raise
        log.warning("Watch %s will not remember what it saw: %s", config.watch, error)
        return Engine(replace(config, memory=None), report=report, notify=notify)


def reporter(plan: Plan) -> Report:
    """Where records go: to the run's journal, or where there is none to the log alone."""
    if plan.route is None:
        return _to_log
    journal = journals.journal_for(plan.route)

    def report(record: Record) -> None:
        journal.append(record)

    return report


def _to_log(record: Record) -> None:
    log.info(
        "%s %s", kind_of(record), {k: v for k, v in to_builtins(record).items() if k not in {"kind", "at", "mono"}}
    )


def _notifier(plan: Plan) -> Any:
    if plan.email is None and plan.webhook is None:
        return None
    from heliograph.filewatch.notify import notifier

    about = {"run": plan.route.run} if plan.route is not None else {}
    if plan.config.number is not None:
        about["task"] = str(plan.config.number)
    return notifier(email=plan.email, webhook=plan.webhook, about=about)


def _tell_failures(notifier: Any, report: Report) -> None:
    for record in notifier.failed():
        report(record)
