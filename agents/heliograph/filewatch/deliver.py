"""Delivering: settled files to records and callbacks, at least once, the completion written down last.

In: files that settled, or that a dead process left undone. Out: FileFound for each, a call for each rule's files
together, FileCallback and a notice when it ends.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from heliograph.failure import redact
from heliograph.filewatch.below import by_link
from heliograph.filewatch.calls import Call
from heliograph.filewatch.config import Notice, Notify, Rule, WatchConfig, rule_key
from heliograph.filewatch.keeper import LIMIT
from heliograph.filewatch.memory import Delivery, Memory, MemoryFailed, Settled
from heliograph.filewatch.pool import Ended, Pool
from heliograph.messages import FileCallback, FileFound, Record
from heliograph.payload import clip, now

log = logging.getLogger("heliograph.filewatch")
Report = Callable[[Record], None]

MOST_FILES = 10_000
"""Files in one call of a function."""
MOST_CHARACTERS = 100_000
"""Characters of all paths in one call of a command: the kernel allows two million bytes with the environment."""
SHOWN_FILES, SHOWN_CHARACTERS = 1000, 200_000
"""How much of the list of files stands in a record."""
LOOK = 0.25
"""Seconds between looks at running callbacks."""
AGAIN = 1.0
"""Seconds until a call that could not be started is tried again."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One call that runs."""

    rule: Rule
    deliveries: list[Delivery]
    sequence: int
    repeat: bool


class Deliveries:
    """All that is on its way to records and callbacks."""

    def __init__(self, config: WatchConfig, memory: Memory, *, report: Report, notify: Notify | None) -> None:
        self._config, self._memory = config, memory
        self._report, self._notify = report, notify
        self._prefix = config.root.rstrip("/") + "/"
        self.keys = _keys(config.rules)
        self._rules = dict(zip(self.keys, config.rules, strict=True))
        self._waiting: dict[str, deque[Delivery]] = {}
        self._pool: Pool[_Work] = Pool(config.max_proc)
        self._not_before = 0.0
        self._uncompleted: list[Delivery] = []
        self.files = self.callbacks = self.failed = 0

    @property
    def running(self) -> int:
        return self._config.max_proc - self._pool.free

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def unfinished(self) -> bool:
        return bool(self._waiting) or self.running > 0

    def found(self, files: Sequence[Settled]) -> None:
        """These files settled. Raises MemoryFailed, and then none of them counts as seen."""
        self._announce([d for made in self._memory.claim(files) for d in made], repeat=False)

    def take_over(self, deliveries: Sequence[Delivery]) -> None:
        """What a dead process left: what it reported is not reported again, and what it began is marked."""
        known = [d for d in deliveries if d.rule in self._rules]
        if len(known) < len(deliveries):
            log.warning("%d files were left for callbacks that this watch no longer has", len(deliveries) - len(known))
            self._complete([d for d in deliveries if d.rule not in self._rules])
        self._announce([d for d in known if not d.announced], repeat=True)
        self._queue(d for d in known if d.announced)

    def dispatch(self) -> None:
        """Start calls for what waits, oldest first, as far as there is room."""
        self._complete([])
        while self._waiting and self._pool.free and time.monotonic() >= self._not_before:
            key = next(iter(self._waiting))
            rule, queue = self._rules[key], self._waiting[key]
            batch = _batch(queue, self._prefix, command=rule.callback is not None and rule.callback.kind == "command")
            batch = self._still_inside(batch)
            try:
                if batch:
                    self._start(rule, batch)
            except (OSError, MemoryFailed) as error:
                log.warning("Watch %s: no callback can be started now: %s", self._config.watch, error)
                queue.extendleft(reversed(batch))
                self._not_before = time.monotonic() + AGAIN
                return
            del self._waiting[key]
            if queue:
                self._waiting[key] = queue  # behind the others

    def reap(self) -> None:
        """Record the calls that have ended."""
        for ended in self._pool.poll():
            self._ended(ended)

    def next_look(self, moment: float) -> float:
        """When there is something to do here."""
        if self._waiting and self._pool.free:
            return max(moment, self._not_before)
        return moment + LOOK if self.running else float("inf")

    def wait(self, seconds: float) -> None:
        self._pool.wait(seconds)

    def kill(self) -> set[str]:
        """End all calls; the paths of what was not completed."""
        left = [d for queue in self._waiting.values() for d in queue]
        for work in self._pool.kill():
            left += work.deliveries
        return {delivery.path for delivery in left}

    def _announce(self, deliveries: Sequence[Delivery], *, repeat: bool) -> None:
        by_path: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_path.setdefault(delivery.path, []).append(delivery)
        for same in by_path.values():
            self._report(self._found(same, repeat=repeat))
        self.files += len(by_path)
        try:
            self._memory.announced(d for d in deliveries if self._rules[d.rule].callback is not None)
        except MemoryFailed as error:
            log.warning("Watch %s: %s", self._config.watch, error)
        self._complete([d for d in deliveries if self._rules[d.rule].callback is None])
        self._queue(deliveries)

    def _queue(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            if self._rules[delivery.rule].callback is not None:
                self._waiting.setdefault(delivery.rule, deque()).append(delivery)

    def _found(self, same: Sequence[Delivery], *, repeat: bool) -> FileFound:
        at, mono = now()
        path, version = same[0].path, same[0].version
        return FileFound(
            at=at,
            mono=mono,
            watch=self._config.watch,
            path=clip(self._prefix + path, 4096) or "",
            size=version.size,
            mtime=version.mtime // 1000,
            inode=version.inode,
            pattern=clip(" | ".join(dict.fromkeys(d.pattern for d in same)), 1000) or "",
            repeat=repeat,
        )

    def _start(self, rule: Rule, batch: list[Delivery]) -> None:
        assert rule.callback is not None  # noqa: S101 - only such are queued
        call = Call(
            callback=rule.callback,
            files=[self._prefix + d.path for d in batch],
            cwd=self._config.cwd or self._config.root,
            timeout=self._config.timeout,
        )
        sequence = self._memory.starting(batch)
        work = _Work(rule=rule, deliveries=batch, sequence=sequence, repeat=any(d.repeat for d in batch))
        self._pool.start(call, work)

    def _still_inside(self, batch: list[Delivery]) -> list[Delivery]:
        """Where links do not count: without what one leads to by now. Such files are done with."""
        if self._config.links:
            return batch
        astray = {delivery for delivery in batch if by_link(self._config.root, delivery.path)}
        if not astray:
            return batch
        log.warning("Watch %s: %d files are behind symbolic links by now", self._config.watch, len(astray))
        self._complete(list(astray))
        return [delivery for delivery in batch if delivery not in astray]

    def _ended(self, ended: Ended[_Work]) -> None:
        work, callback = ended.what, ended.what.rule.callback
        assert callback is not None  # noqa: S101 - only such are queued
        self.callbacks += 1
        self.failed += ended.outcome != "ok"
        paths = [self._prefix + d.path for d in work.deliveries]
        text = redact(ended.text, 2 * LIMIT)
        at, mono = now()
        record = FileCallback(
            at=at,
            mono=mono,
            watch=self._config.watch,
            callback=clip(callback.name, 500) or "",
            sequence=work.sequence,
            outcome=ended.outcome,
            paths=_shown(paths),
            result=clip(text, LIMIT),
            elapsed=int(ended.elapsed * 1e6),
            repeat=work.repeat,
        )
        if ended.outcome != "ok":
            log.warning("Watch %s: callback %s: %s: %s", record.watch, record.callback, ended.outcome, record.result)
        self._report(record)
        self._tell(record, len(paths))
        self._complete(work.deliveries)

    def _tell(self, record: FileCallback, files: int) -> None:
        if self._notify is None:
            return
        notice = Notice(
            watch=record.watch,
            root=self._config.root,
            callback=record.callback,
            sequence=record.sequence,
            outcome=record.outcome,
            result=record.result,
            paths=tuple(record.paths),
            files=files,
            at=record.at,
            elapsed=record.elapsed,
            repeat=record.repeat,
        )
        try:
            self._notify(notice)
        except Exception:
            log.exception("Watch %s: the notice of callback %s was not taken", record.watch, record.callback)

    def _complete(self, deliveries: Sequence[Delivery]) -> None:
        """Write down that they are done; what cannot be written now is, later."""
        self._uncompleted += deliveries
        if self._uncompleted:
            try:
                self._memory.completed(self._uncompleted)
                self._uncompleted = []
            except MemoryFailed as error:
                log.warning("Watch %s: %s", self._config.watch, error)


def _keys(rules: Sequence[Rule]) -> list[str]:
    """The rules' names in the memory; of rules that are the same, each has its own."""
    keys = [rule_key(rule) for rule in rules]
    return [f"{key}-{keys[:number].count(key)}" for number, key in enumerate(keys)]


def _batch(queue: deque[Delivery], prefix: str, *, command: bool) -> list[Delivery]:
    """The files of the next call, in the order of their paths."""
    batch: list[Delivery] = []
    characters = 0
    while queue and len(batch) < MOST_FILES:
        characters += len(prefix) + len(queue[0].path)
        if command and batch and characters > MOST_CHARACTERS:
            break
        batch.append(queue.popleft())
    return sorted(batch, key=lambda d: d.path)


def _shown(paths: Sequence[str]) -> list[str]:
    """As many as a record can hold."""
    shown: list[str] = []
    room = SHOWN_CHARACTERS
    for path in paths[:SHOWN_FILES]:
        room -= len(path)
        if room < 0:
            break
        shown.append(clip(path, 4096) or "")
    return shown
