"""Ships on what agents without a way to the bus left in a run's spool.

In: `<run_dir>/.heliograph/spool`. Out: the same batches on the run's bus; forgotten there only after the bus has them.
"""

from __future__ import annotations

import logging
import os

from heliograph.bus import BadMessage, BusFull, Consumer, Delivery, Outgoing, Publisher, open_consumer
from heliograph.messages import Class
from heliograph.route import Route, spool_path

log = logging.getLogger("heliograph.agent")

AT_ONCE = 50


class Forwarder:
    """Used by the shipping thread of the run."""

    def __init__(self, route: Route, agent: str) -> None:
        self._folder = spool_path(route.run_dir)
        self._agent = agent
        self._consumer: Consumer | None = None

    def anything(self) -> bool:
        """Whether there is a spool at all. Looked for, never made: most runs have none."""
        return (self._folder / "new").is_dir()

    def is_target(self, bus: str) -> bool:
        """Whether the bus is this very spool: then there is nothing to ship on."""
        path = bus.partition(":")[2]
        return bus.startswith("spool:") and os.path.realpath(path.replace("//", "/", 1)) == os.path.realpath(
            self._folder
        )

    def forward(self, publisher: Publisher) -> int:
        """Move what is there; what the bus does not take stays. Raises BusUnavailable and BusFull."""
        if self._consumer is None:
            self._consumer = open_consumer(f"spool:{self._folder}", name=f"forward-{self._agent}", classes=tuple(Class))
        moved = left = 0
        try:
            while deliveries := self._consumer.receive(AT_ONCE, 0.0):
                here = sum(self._move(delivery, publisher, self._consumer) for delivery in deliveries)
                moved, left = moved + here, left + len(deliveries) - here
        except BaseException:
            self.close()
            raise
        if left:
            self.close()
        return moved

    def close(self) -> None:
        """Unsettled batches wait again in the spool."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _move(self, delivery: Delivery, publisher: Publisher, consumer: Consumer) -> bool:
        """False when the bus takes no samples for now: they wait in the spool."""
        cls, _, run = delivery.route.partition(".")
        try:
            publisher.publish([Outgoing(run=run, cls=Class(cls), body=delivery.body)])
        except (BadMessage, ValueError) as error:
            consumer.reject(delivery, f"cannot be shipped on: {error}")
            return True
        except BusFull:
            if cls != Class.SAMPLES.value:
                raise
            return False
        consumer.ack([delivery])
        return True
