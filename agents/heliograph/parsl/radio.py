"""Our radio for Parsl's official route: what Parsl's own wrapper says in the task's process goes to a journal there.

In: Parsl's `create_sender().send(message)` around every task. Out: records in the journal of that process. Parsl calls
`create_sender` for every message, so it only hands out what this process already has.
"""

from __future__ import annotations

import os
from multiprocessing.queues import Queue
from typing import Any

from parsl.monitoring.radios.base import MonitoringRadioReceiver, MonitoringRadioSender, RadioConfig
from parsl.utils import RepresentationMixin

from heliograph import journal as journals
from heliograph import worker
from heliograph.parsl.sink import Appends, Sink
from heliograph.parsl.translate import Context

_SHIPPED = """
class Silent:
    def create_sender(self):
        return self
    def send(self, message):
        pass

def radio(*arguments):
    try:
        from heliograph.parsl.radio import arrived
        return arrived(*arguments)
    except Exception:
        return Silent()
"""


class JournalRadio(RadioConfig, RepresentationMixin):  # type: ignore[misc]
    """Set by `MonitoringHub` on the official route; can also be given to an executor by hand."""

    def __init__(self, *, hub: str | None = None, sample_interval: float = 10.0, executor: str = "") -> None:
        self.hub = hub
        self.sample_interval = sample_interval
        self.executor = executor
        self.run_dir = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return self._shipped()

    def create_receiver(self, *, run_dir: str, resource_msgs: Queue[Any]) -> MonitoringRadioReceiver:
        self.run_dir = os.path.abspath(run_dir)
        return JournalReceiver()

    def _shipped(self) -> tuple[Any, ...]:
        """As text that any worker can read: one without Heliograph gets a sender that sends nothing."""
        arguments = (self.hub, self.run_dir, self.sample_interval, self.executor)
        space = {"text": _SHIPPED, "space": {}, "arguments": arguments}
        return eval, ("(exec(text, space), space['radio'](*arguments))[1]", space)

    def create_sender(self) -> MonitoringRadioSender:
        return sender(self.hub, self.run_dir, self.sample_interval, self.executor)


class JournalReceiver(MonitoringRadioReceiver):  # type: ignore[misc]
    """Nothing listens on the submitting side: agents ship the journals."""

    def shutdown(self) -> None:
        pass


class JournalSender(MonitoringRadioSender):  # type: ignore[misc]
    """Appends to this process's journal. Never raises: it stands around the user's function."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def send(self, message: object) -> None:
        self._sink.take(message)


def arrived(hub: str | None, run_dir: str, sample_interval: float, executor: str) -> JournalRadio:
    """The radio as it arrives in a worker."""
    radio = JournalRadio(hub=hub, sample_interval=sample_interval, executor=executor)
    radio.run_dir = run_dir
    return radio


_senders: dict[tuple[Any, ...], JournalSender] = {}


def sender(hub: str | None, run_dir: str, sample_interval: float, executor: str) -> JournalSender:
    """The sender of this process for this run; a forked child makes its own."""
    key = (os.getpid(), hub, run_dir, sample_interval, executor)
    found = _senders.get(key)
    if found is None:

        def opener(run: str, _: str) -> Appends:
            route = journals.Route(run=run, run_dir=run_dir, hub=hub, sample_interval=sample_interval)
            journal = journals.journal_for(route)
            worker.node_seen(journal, executor)
            return journal

        context = Context(pid=os.getpid(), sample_interval=sample_interval)
        found = _senders[key] = JournalSender(Sink(context=context, opener=opener))
    return found
