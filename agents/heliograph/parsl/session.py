"""One kernel's monitoring, from start to end: the queue for Parsl's messages, the journal, the executors.

In: options of the hub, and the kernel where it can be reached. Out: an open journal that owns the run, and the process
that finds or starts what takes its records. A hub that is used for one kernel after another has one session each.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parsl.dataflow.states import FINAL_STATES, States
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadioSender

from heliograph import descriptor, launch
from heliograph import journal as journals
from heliograph.messages import RunEnded
from heliograph.parsl.kernel import before_executors, instead_of_messages
from heliograph.parsl.memoizer import NotingMemoizer
from heliograph.parsl.sink import JournalQueue, Sink
from heliograph.parsl.submit import TaskIds, Where, wrap_submit
from heliograph.parsl.translate import Context
from heliograph.zone import local_zone

_log = logging.getLogger("parsl.heliograph")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for. Folders are absolute, the interval is in seconds."""

    hub: str | None
    bus: str | None = field(repr=False)
    database: str | None = field(repr=False)
    run_dir: str
    config_run_dir: str
    sample_interval: float
    record_tasks: bool = True
    record_arguments: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    file_monitor: Any = None


class Session:
    """Made before the kernel's first message; `fast` or `official` follow where the kernel can be reached."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._ids = TaskIds()
        self._journal: journals.Journal | None = None
        self._watch: Any = None
        context = Context(
            tags=options.tags,
            zone=local_zone(),
            utc_offset=time.localtime().tm_gmtoff,
            pid=os.getpid(),
            sample_interval=options.sample_interval,
            record_arguments=options.record_arguments,
        )
        self._sink = Sink(context=context, opener=self._open)
        self.messages = JournalQueue(self._sink, (options.hub, options.run_dir, options.sample_interval))

    def fast(self, kernel: Any) -> None:
        """Our own wrapper around tasks, through this kernel instance."""
        descriptor.keep_interpreter()
        self._sink.begin(kernel.run_id, kernel.run_dir)
        self._at_exit(kernel)
        instead_of_messages(kernel, self._sink.task)
        before_executors(kernel, lambda executor: self._prepare(kernel, executor))

    def official(self, kernel: Any) -> None:
        """Parsl's wrapper, with our radio where an executor has one of Parsl's defaults."""
        from heliograph.parsl.radio import JournalRadio  # an older Parsl has no such base classes

        def prepare(executor: Any) -> None:
            radio = executor.remote_monitoring_radio
            if radio is None or type(radio).__module__.startswith("parsl."):  # one that the user made is left alone
                interval = self._options.sample_interval
                executor.remote_monitoring_radio = JournalRadio(
                    hub=self._options.hub, sample_interval=interval, executor=executor.label
                )

        self._at_exit(kernel)
        before_executors(kernel, prepare)

    def close(self) -> None:
        """The clean end of this run's journal. Agents ship it afterwards."""
        atexit.unregister(self._leave)
        if self._watch is not None:  # it goes on by itself until its last files are done with
            self._watch.end()
        if self._journal is not None:
            lost = sum(self._journal.dropped.values()) + self._sink.refused
            self._journal.close()
            journals.close_run(self._journal.route.run)  # of tasks that ran in this process
            if lost:
                _log.warning("%d records of this run could not be written by the submitting process", lost)

    def _at_exit(self, kernel: Any) -> None:
        """Many scripts never clean their kernel up, and Parsl then sends no end: a run that just ended is not lost."""
        self._kernel, self._maker = kernel, os.getpid()
        atexit.register(self._leave)

    def _leave(self) -> None:
        """Python is exiting in an orderly way with this kernel still running. Never raises."""
        if os.getpid() != self._maker:  # a forked child leaves; the run goes on
            return
        try:
            self._sink.record(_end(self._kernel))
            self.close()
        except Exception:
            _log.debug("The end of this run could not be recorded", exc_info=True)

    def _open(self, run: str, run_dir: str) -> journals.Journal:
        options = self._options
        route = journals.Route(
            run=run, run_dir=options.run_dir, hub=options.hub, owner=True, sample_interval=options.sample_interval
        )
        self._journal = journals.Journal.open(route)
        launch.start(
            run,
            options.run_dir,
            bus=options.bus,
            hub=options.hub,
            database=options.database,
            config_run_dir=options.config_run_dir,
            interval=options.sample_interval,
        )
        if options.file_monitor is not None:
            from heliograph.filewatch.attach import opened

            self._watch = opened(options.file_monitor, route)
        return self._journal

    def _prepare(self, kernel: Any, executor: Any) -> None:
        """Before Parsl starts this executor: no radio, so no router process; blocks are still told."""
        if type(kernel.memoizer) is not NotingMemoizer:
            kernel.memoizer = NotingMemoizer(kernel.memoizer, self._submitting)
        executor.remote_monitoring_radio = None
        if isinstance(executor, BlockProviderExecutor) and hasattr(executor, "submit_monitoring_radio"):
            executor.submit_monitoring_radio = MultiprocessingQueueRadioSender(self.messages)
        if self._options.record_tasks:
            wrap_submit(executor, self._ids, self._where(kernel.run_id, executor))

    def _where(self, run: str, executor: Any) -> Where:
        options = self._options
        route = {"run_dir": options.run_dir, "hub": options.hub, "sample_interval": options.sample_interval}
        return Where(
            run=run,
            route=tuple(route.items()),
            executor=executor.label,
            shared=isinstance(executor, ThreadPoolExecutor),
            redact=os.environ.get("HELIOGRAPH_REDACT", ""),
        )

    def _submitting(self, task: Mapping[str, Any]) -> None:
        """The memoizer is asked about a task: it is submitted next, in this thread. Never raises."""
        try:
            self._ids.leave(task["id"], task["try_id"])
        except Exception:
            self._sink.refused += 1


def _end(kernel: Any) -> RunEnded:
    """The end of a run whose kernel was not cleaned up: what its tasks and an uncaught exception say."""
    counts = dict(kernel.task_state_counts)
    unfinished = sum(count for task_state, count in counts.items() if task_state not in FINAL_STATES)
    uncaught = getattr(sys, "last_type", None)
    at, mono = journals.now()
    return RunEnded(
        at=at,
        mono=mono,
        completed=counts.get(States.exec_done),
        failed=counts.get(States.failed),
        exit=uncaught.__name__ if uncaught else f"{unfinished} tasks unfinished" if unfinished else None,
    )


def deaf_queue() -> JournalQueue:
    """For a run that cannot be recorded at all: takes every message and keeps none."""

    def opener(run: str, run_dir: str) -> Any:
        raise Unrecorded(run)

    return JournalQueue(Sink(context=Context(), opener=opener), (None, "", 0.0))


class Unrecorded(Exception):
    """The start of monitoring failed, so there is no journal for this run."""
