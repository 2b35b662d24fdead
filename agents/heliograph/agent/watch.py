"""Which tries run on this node, and their samples.

In: records as they pass through the agent, the clock. Out: samples, each with the run that it belongs to.

Known are the tries that said in a journal of this node that they run, of the runs that want samples. A try ends with
its TaskEnded, or with its process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from heliograph import messages, state
from heliograph.agent.persist import Tries
from heliograph.agent.whose import ActiveTry, TryKey
from heliograph.messages import BadMessage, NodeSample, RunEnded, TaskEnded, TaskRunning, TaskSample
from heliograph.route import Route

Sample = tuple[str, TaskSample | NodeSample]
Now = tuple[int, int]
_RUNNING, _ENDED, _RUN_ENDED = b"task.running", b"task.ended", b"run.ended"
_KIND_WITHIN = 20
"""A record begins with an array head (1 to 3 bytes), a string head, and its kind."""
IDLE_INTERVAL = 30.0
"""Seconds between samples of a node on which nothing runs, where the run's own interval is shorter."""


class TrySampler(Protocol):
    """What this part uses of the sampler of tries."""

    def keyed(self, active: Collection[ActiveTry], now: Now) -> list[tuple[TryKey, TaskSample]]: ...
    def ended(self, try_: ActiveTry, now: Now, record: TaskEnded | None = None) -> TaskSample | None: ...
    def snapshot(self) -> bytes: ...
    def restore(self, raw: bytes) -> bool: ...


class NodeSampling(Protocol):
    def sample(self, now: Now) -> NodeSample: ...


class Watch:
    """Not thread-safe."""

    def __init__(
        self,
        tries: TrySampler,
        node: NodeSampling,
        remembered: Tries,
        *,
        alive: Callable[[int, int | None], bool] = state.process_alive,
    ) -> None:
        self._sampler, self._node, self._alive = tries, node, alive
        self._active: dict[TryKey, ActiveTry] = {t.key: t for t in remembered.active}
        self._node_at: dict[str, float] = {}
        self.ended_runs: set[str] = set()
        if remembered.sampler:
            tries.restore(remembered.sampler)

    def active(self) -> int:
        return len(self._active)

    def note(self, route: Route, payload: bytes, now: Now) -> Sample | None:
        """Look at a record that passes: a try that begins or ends here, a run that ends. May give a last sample."""
        kind = payload[:_KIND_WITHIN]
        if _RUNNING in kind:
            self._begin(route, _decoded(payload), now)
        elif _ENDED in kind:
            return self._end(route, _decoded(payload), now)
        elif _RUN_ENDED in kind and isinstance(_decoded(payload), RunEnded):
            self.ended_runs.add(route.run)
        return None

    def tick(self, now: Now) -> list[Sample]:
        """Samples of the tries that are due, and last ones of those whose process is gone."""
        gone = [t for t in self._active.values() if not self._alive(t.pid, t.create_time)]
        last = [(t.run, self._sampler.ended(t, now)) for t in gone]
        for try_ in gone:
            del self._active[try_.key]
        samples = [(key[0], sample) for key, sample in self._sampler.keyed(self._active.values(), now)]
        return [*((run, sample) for run, sample in last if sample is not None), *samples]

    def node(self, runs: dict[str, float], now: Now, moment: float) -> list[Sample]:
        """A sample of the node for each run whose interval (seconds) has passed."""
        due = [run for run, interval in runs.items() if interval > 0 and moment >= self._node_at.get(run, 0.0)]
        if not due:
            return []
        for run in due:
            self._node_at[run] = moment + (runs[run] if self._active else max(runs[run], IDLE_INTERVAL))
        sample = self._node.sample(now)
        return [(run, sample) for run in due]

    def next_at(self, runs: dict[str, float]) -> float | None:
        """Monotonic seconds at which the next sample is due."""
        return min((self._node_at.get(run, 0.0) for run, interval in runs.items() if interval > 0), default=None)

    def forget(self, run: str) -> None:
        """Nobody records for this run here any more."""
        self._active = {key: try_ for key, try_ in self._active.items() if try_.run != run}
        self._node_at.pop(run, None)
        self.ended_runs.discard(run)

    def remember(self) -> Tries:
        return Tries(active=list(self._active.values()), sampler=self._sampler.snapshot())

    def _begin(self, route: Route, record: object, now: Now) -> None:
        if not isinstance(record, TaskRunning) or route.sample_interval <= 0:
            return
        if not self._active:  # no longer idle
            soon = now[1] / 1e6 + route.sample_interval
            self._node_at = {run: min(at, soon) for run, at in self._node_at.items()}
        try_ = ActiveTry(
            run=route.run,
            origin=record.origin,
            number=record.number,
            try_=record.try_,
            host=record.host,
            pid=record.pid,
            create_time=record.create_time,
            shared=record.shared,
            interval=route.sample_interval,
            mono=record.mono,
            cpu_user=record.cpu_user,
            cpu_system=record.cpu_system,
        )
        self._active[try_.key] = try_

    def _end(self, route: Route, record: object, now: Now) -> Sample | None:
        if not isinstance(record, TaskEnded):
            return None
        try_ = self._active.pop((route.run, record.origin, record.number, record.try_), None)
        sample = self._sampler.ended(try_, now, record) if try_ is not None else None
        return (route.run, sample) if sample is not None else None


def _decoded(payload: bytes) -> object:
    try:
        return messages.decode(payload)
    except BadMessage:
        return None  # the store puts it aside, with its reason
