"""The service's loop: take requests, keep the watches' processes running, end them with their runs.

In: commands from the bus, the watch file, the store. Out: one process for each watch; what they find is published by
the pump. A request is acknowledged when it is on the disk or when its refusal is on the bus.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from heliograph.bus import BusUnavailable, Consumer, Publisher
from heliograph.filewatch.told import watch_closed
from heliograph.messages import BadMessage, WatchStart, WatchStop, decode_batch, decode_commands
from heliograph.payload import clip
from heliograph_filewatch.admit import Job, Refused, admit_request
from heliograph_filewatch.child import Child, Fate
from heliograph_filewatch.config import BadWatchFile, ServiceConfig
from heliograph_filewatch.ends import RunEnds
from heliograph_filewatch.kept import About, Kept, key_of
from heliograph_filewatch.metrics import SUMMED, FilewatchMetrics
from heliograph_filewatch.outbox import Outbox, Unsent
from heliograph_filewatch.own import OwnRuns
from heliograph_filewatch.pump import Pump
from heliograph_filewatch.refusals import Refusals

log = logging.getLogger("heliograph.filewatch")
IDLE = 0.5
"""Seconds of one wait for requests: also how long a stop request can take to be noticed."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0
_PUBLISH_LEFT = 8.0
MOST_COMMANDS = 1000
_TIDY = 3600.0
_RUNAWAY = "stopped: one step took more than {:g} s of processor time; simplify the regular expressions"


class Stop(Protocol):
    """A request to stop."""

    @property
    def asked(self) -> bool: ...
    def wait(self, seconds: float) -> bool: ...


class Service:
    """`run` returns when a stop was asked for and the watches have been left in good order."""

    def __init__(
        self,
        config: ServiceConfig,
        *,
        open_consumer: Callable[[], Consumer],
        open_publisher: Callable[[str], Publisher],
        metrics: FilewatchMetrics,
        stop: Stop,
    ) -> None:
        """Raises BadWatchFile for a watch of the file that cannot be, OSError and StateInUse."""
        self._config, self._metrics, self._stop = config, metrics, stop
        self._open_consumer = open_consumer
        self._kept = Kept(config.state)
        self._own = OwnRuns(self._kept, config.watches)
        try:
            self._jobs = self._own.jobs()
        except Refused as error:
            self._kept.close()
            raise BadWatchFile(str(error)) from error
        self._pump = Pump(self._kept, lambda: open_publisher("filewatch"), metrics)
        self._refusals = Refusals(lambda: open_publisher("filewatch-refusals"))
        self._ends = RunEnds(config.database, lost_after=config.watches.limits.lost_after)
        self._children: dict[str, Child] = {}
        self._requested: dict[str, About] = {}
        """Those of the children that somebody asked for."""
        self._consumer: Consumer | None = None
        self._consume_at = self._look_at = self._tidy_at = 0.0
        self._consume_wait = _FIRST_WAIT

    def run(self) -> None:
        try:
            self._own.begin()
            self._recover()
            self._pump.start()
            while not self._stop.asked:
                self._take_requests()
                self._look_after_children()
                self._look_at_runs()
                self._own.beat()
        finally:
            self._leave()

    def ready(self) -> dict[str, bool]:
        return {"bus": self._metrics.bus_is_up, "store": self._metrics.store_is_up}

    # -- beginning and leaving ---------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Go on with what was under way, as far as the configuration still allows it."""
        for key, job in self._jobs.items():
            self._start(key, job)
        for key, about in list(self._kept.all()):
            if key in self._jobs or not about.watch or self._kept.is_closed(key):
                continue
            if about.asked is None:
                self._close(key, about.watch, "it is not in the watch file any more")
                continue
            try:
                job = self._admit(key, about.run, about.asked)
            except Refused as error:
                self._close(key, about.watch, f"refused: {error}")
                continue
            self._requested[key] = about
            self._start(key, job)
            if (reason := self._kept.stop_asked(key)) is not None:
                self._children[key].end(reason)

    def _leave(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        for child in self._children.values():
            child.leave(self._config.drain)
        ends = time.monotonic() + self._config.drain + 2.0
        while time.monotonic() < ends and not all([child.gone() for child in self._children.values()]):  # noqa: C419
            time.sleep(0.05)
        for child in self._children.values():
            child.kill()
        if self._pump.ident is not None:
            self._pump.stop(_PUBLISH_LEFT)
        self._refusals.close()
        self._ends.close()
        self._kept.close()

    # -- requests ----------------------------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        if time.monotonic() < self._consume_at:
            self._stop.wait(IDLE)
            return
        try:
            if self._consumer is None:
                self._consumer = self._open_consumer()
            for delivery in self._consumer.receive(50, IDLE):
                try:
                    self._obey(delivery.body)
                except BadMessage as error:
                    log.warning("a request is put aside: %s", error)
                    self._metrics.requests.labels("bad").inc()
                    self._consumer.reject(delivery, str(error))
                else:
                    self._consumer.ack([delivery])
            self._metrics.bus_up.set(1)
            self._consume_wait = _FIRST_WAIT
        except BusUnavailable as error:
            if self._metrics.bus_is_up or self._consume_wait == _FIRST_WAIT:
                log.warning("no requests can be taken now: %s", error)
            self._metrics.bus_up.set(0)
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                consumer.close()
            self._consume_at = time.monotonic() + self._consume_wait
            self._consume_wait = min(_LONGEST_WAIT, self._consume_wait * 2)

    def _obey(self, body: bytes) -> None:
        batch = decode_batch(body)
        commands, aside = decode_commands(batch)
        if len(commands) > MOST_COMMANDS:
            raise BadMessage(f"{len(commands)} requests in one batch; {MOST_COMMANDS} are taken")
        if aside and not commands:
            raise BadMessage(aside[0].reason)
        for bad in aside:
            self._metrics.requests.labels("bad").inc()
            log.warning("a request cannot be read: %s", bad.reason, extra={"run": batch.run})
        for command in commands:
            outcome = (
                self._begin(batch.run, command) if isinstance(command, WatchStart) else self._end(batch.run, command)
            )
            self._metrics.requests.labels(outcome).inc()

    def _begin(self, run: str, asked: WatchStart) -> str:
        key = key_of(run, asked.watch)
        if key in self._children or self._kept.about(key) is not None:
            return "known"
        if (why := self._kept.ended(key)) is not None:
            return self._refuse(run, asked.watch, f"it has ended: {why}", "known")
        try:
            self._check_room(run)
            job = self._admit(key, run, asked)
        except Refused as error:
            return self._refuse(run, asked.watch, f"refused: {error}", "refused")
        about = About(run=run, watch=asked.watch, asked=asked)
        self._kept.begin(about)
        self._requested[key] = about
        self._start(key, job)
        return "accepted"

    def _check_room(self, run: str) -> None:
        limits = self._config.watches.limits
        if len(self._requested) >= limits.watches:
            raise Refused(f"this service watches for {limits.watches} requests already")
        if sum(about.run == run for about in self._requested.values()) >= limits.watches_per_run:
            raise Refused(f"this service takes {limits.watches_per_run} watches of one run")

    def _admit(self, key: str, run: str, asked: WatchStart) -> Job:
        watches = self._config.watches
        return admit_request(asked, run, watches.allow, watches.limits, memory=self._kept.folder(key) / "memory.db")

    def _refuse(self, run: str, watch: str, reason: str, outcome: str) -> str:
        log.warning("watch %r: %s", watch[:100], reason, extra={"run": run})
        self._refusals.tell(run, watch_closed(watch, reason))
        return outcome

    def _end(self, run: str, command: WatchStop) -> str:
        key = key_of(run, command.watch)
        reason = clip(command.reason, 200) or "asked to stop"
        if key in self._requested and key in self._children:
            self._stop_child(key, reason)
        elif key in self._children:
            return "refused"  # a watch of the watch file is the operator's
        elif self._kept.ended(key) is None:
            self._kept.remember_end(key, reason)  # its start may still come
        return "stopped"

    # -- watches -----------------------------------------------------------------------------------------------------

    def _start(self, key: str, job: Job) -> None:
        about = self._requested.get(key) or About(run=job.run, watch=job.config.watch)
        folder = self._kept.begin(about)
        (folder / "outbox").mkdir(mode=0o700, exist_ok=True)
        child = self._children[key] = Child(job, folder)
        with suppress(OSError):  # then it is tried again
            child.start()
        log.info("watching %s", job.config.root, extra={"run": job.run})

    def _stop_child(self, key: str, reason: str) -> None:
        self._kept.ask_to_stop(key, reason)
        self._children[key].end(reason)

    def _look_after_children(self) -> None:
        for key, child in list(self._children.items()):
            restarts = child.restarts
            fate = child.look()
            self._metrics.restarts.inc(child.restarts - restarts)
            if fate is Fate.ENDED:
                self._done(key)
            elif fate is Fate.RUNAWAY:
                self._metrics.runaway.inc()
                self._close(key, child.job.config.watch, _RUNAWAY.format(child.job.step_cpu), child)
            elif fate is Fate.CANNOT and key in self._requested:
                self._close(key, child.job.config.watch, f"cannot be watched: {child.trouble}", child)
            elif fate is Fate.CANNOT:
                log.warning("watch %s: %s", child.job.config.watch, child.trouble, extra={"run": child.job.run})
                child.retry()
        self._metrics.watches.set(len(self._children))
        self._metrics.silent.set(sum(child.silent for child in self._children.values()))
        for name in SUMMED:
            getattr(self._metrics, name).set(sum(c.status.get(name, 0.0) for c in self._children.values()))

    def _close(self, key: str, watch: str, reason: str, child: Child | None = None) -> None:
        """End a watch for which no process speaks any more."""
        log.warning("watch %r: %s", watch, reason)
        status = {} if child is None else child.status
        outbox = Outbox(self._kept.folder(key) / "outbox")
        unfinished = sum(status.get(name, 0.0) for name in ("waiting", "running", "settling"))
        outbox.append(watch_closed(watch, reason, files=int(status.get("files", 0)), unfinished=int(unfinished)))
        outbox.close()
        self._done(key)

    def _done(self, key: str) -> None:
        self._children.pop(key, None)
        self._requested.pop(key, None)
        self._kept.close_watch(key)

    def _look_at_runs(self) -> None:
        moment = time.monotonic()
        if moment < self._look_at:
            return
        self._look_at = moment + self._config.look
        answers = {run: self._ends.why(run) for run in {about.run for about in self._requested.values()} or {""}}
        self._metrics.store_up.set(float(self._ends.up))
        for key, about in list(self._requested.items()):
            known, why = answers.get(about.run, (True, None))
            if not known and self._kept.age(key) > self._config.watches.limits.unknown_after:
                why = "nothing is known of its run"
            if why is not None and key in self._children and self._kept.stop_asked(key) is None:
                self._stop_child(key, why)
        for key, about in list(self._kept.all()):
            if about.watch and self._kept.is_closed(key) and not Unsent(self._kept.folder(key) / "outbox").waiting():
                self._kept.forget(key, self._kept.stop_asked(key) or "it was closed")
        if moment >= self._tidy_at:
            self._tidy_at = moment + _TIDY
            self._kept.prune(self._config.keep)
