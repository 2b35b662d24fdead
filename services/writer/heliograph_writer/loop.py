"""The writer's loop: consume, collect, write, acknowledge — the acknowledgement always last.

In: a way to open the bus, something that writes batches, a stop request. Out: committed rows, acknowledged batches,
dead letters with reasons, metrics. One thread; every wait ends early when a stop is asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from heliograph.bus import BadMessage, BusUnavailable, Consumer, Delivery
from heliograph_writer.config import WriterConfig
from heliograph_writer.metrics import WriterMetrics
from heliograph_writer.pipeline import Hand, Received, Refused, backoff, next_limit, oldest_at, sort_out
from heliograph_writer.ports import Settler, StoreUnavailable, StoreWriter
from heliograph_writer.stop import Stop

log = logging.getLogger("heliograph.writer")
TICK = 2.0


class AckNow:
    """Acknowledges as soon as the commit is done: right wherever a commit is durable for good."""

    held = 0

    def settle(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
        consumer.ack(deliveries)

    def tick(self, consumer: Consumer) -> None: ...

    def finish(self, consumer: Consumer) -> None: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Tick:
    """State of the loop, told every two seconds: `quiet` seconds without a delivery; batches waiting in the bus and
    in hand, None when the bus cannot tell."""

    quiet: float
    waiting: int | None


class WriterLoop:
    """Moves batches from the bus to the store until it is stopped or `finished` says so."""

    def __init__(
        self,
        *,
        config: WriterConfig,
        open_consumer: Callable[[], Consumer],
        writer: StoreWriter,
        metrics: WriterMetrics,
        stop: Stop,
        settler: Settler | None = None,
        upkeep: Callable[[], None] = lambda: None,
        finished: Callable[[Tick], bool] = lambda _tick: False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.metrics = metrics
        self.stop = stop
        self._open = open_consumer
        self._writer = writer
        self._settler: Settler = settler or AckNow()
        self._upkeep = upkeep
        self._finished = finished
        self._clock = clock
        self._wall = wall
        self._limit = min(16, config.max_batches)
        self._hand = self._empty_hand()
        self._last_delivery = clock()
        self._next_tick = clock() + TICK
        self._done = False
        self._paused = False
        self._bus_failures: int | None = None
        """Times in a row that the bus was away; None before it ever answered."""
        self._give_up: float | None = None

    def run(self) -> None:
        """Until stopped or finished. Raises what can never get better (BadUrl); everything else is tried again."""
        while not self.stop.asked and not self._done:
            consumer = None
            try:
                consumer = self._open()
                self._hand = self._empty_hand()
                self._paused = False
                self._serve(consumer)
            except BusUnavailable as error:
                self._bus_lost(error)
            finally:
                self._settler.forget()
                if consumer is not None:
                    with suppress(BusUnavailable):  # what was not acknowledged goes back to the bus all the same
                        consumer.close()

    def _bus_answered(self) -> None:
        """Carriers connect at the first receive, so only its answer says that the bus is there."""
        if self._bus_failures is None or self._bus_failures:
            log.info("the bus answers")
        self._bus_failures = 0
        self.metrics.bus_up.set(1)

    def _bus_lost(self, error: BusUnavailable) -> None:
        self.metrics.bus_up.set(0)
        attempt = self._bus_failures or 0
        self._bus_failures = attempt + 1
        delay = backoff(attempt, first=self.config.backoff_first, last=self.config.backoff_last)
        log.warning("bus unavailable, next try in %.1f s: %s", delay, error)
        self.stop.wait(delay)

    def _serve(self, consumer: Consumer) -> None:
        while not self.stop.asked and not self._done:
            self._fill(consumer)
            self._commit(consumer, self._hand.take())
            self._settler.tick(consumer)
            self._tick(consumer)
            self._upkeep()
        self._settler.finish(consumer)

    def _empty_hand(self) -> Hand:
        return Hand(linger=self.config.linger, max_bytes=self.config.max_bytes, limit=self._limit)

    def _fill(self, consumer: Consumer) -> None:
        """Receive until the hand is full or the first batch in it has waited for `linger`."""
        hand = self._hand
        hand.limit = self._limit
        patience = hand.patience(self._clock(), self.config.idle_wait)
        while patience > 0 and not self.stop.asked:
            more = consumer.receive(hand.room(), patience)
            self._bus_answered()
            now = self._clock()
            if more:
                self._last_delivery = now
            elif not hand.deliveries:
                return
            hand.add(more, now)
            patience = hand.patience(now, 0.0)

    def _commit(self, consumer: Consumer, deliveries: list[Delivery]) -> None:
        if not deliveries:
            self.metrics.lag.set(0)
            return
        self.metrics.in_hand.set(len(deliveries) + self._settler.held)
        good, bad = sort_out(deliveries)
        for refused in bad:
            self._refuse(consumer, refused)
        self._write(consumer, good)
        self.metrics.in_hand.set(self._settler.held)

    def _write(self, consumer: Consumer, received: list[Received]) -> None:
        """Write these, in halves where one of them is bad, again where the store is away, and acknowledge each part.

        Returns with parts unwritten only when the loop is to end and the store stays away: the bus keeps those.
        """
        todo = [received] if received else []
        attempt = 0
        while todo:
            part = todo[-1]
            try:
                self._write_part(part)
            except StoreUnavailable as error:
                if not self._wait_for_store(consumer, error, attempt):
                    return
                attempt += 1
                continue
            except BadMessage as error:
                todo.pop()
                if len(part) == 1:
                    self._refuse(consumer, Refused(delivery=part[0].delivery, reason=str(error)))
                else:
                    middle = len(part) // 2
                    todo += [part[middle:], part[:middle]]
                continue
            todo.pop()
            attempt = 0
            self._settler.settle(consumer, [r.delivery for r in part])
            self.metrics.batches.inc(len(part))
        if self._paused:
            self._paused = False
            consumer.resume()
            log.info("the store is back")

    def _write_part(self, part: list[Received]) -> None:
        batches = [r.batch for r in part]
        began = self._clock()
        result = self._writer.write(batches)
        took = self._clock() - began
        metrics = self.metrics
        metrics.store_up.set(1)
        metrics.write_seconds.observe(took)
        for kind, count in result.counts.items():
            metrics.records.labels(kind).inc(count)
        metrics.aside.inc(len(result.aside))
        metrics.late.inc(result.late)
        oldest = oldest_at(batches)
        if oldest is not None:
            metrics.lag.set(max(0.0, self._wall() - oldest / 1e6))
        self._limit = next_limit(
            limit=self._limit,
            took=took,
            target=self.config.target_write,
            was_full=len(part) >= self._limit,
            most=self.config.max_batches,
        )

    def _refuse(self, consumer: Consumer, refused: Refused) -> None:
        cls, _, run = refused.delivery.route.partition(".")
        log.error("a batch of %s moved to the dead letters: %s", cls, refused.reason, extra={"run": run})
        consumer.reject(refused.delivery, refused.reason)
        self.metrics.dead.inc()

    def _wait_for_store(self, consumer: Consumer, error: StoreUnavailable, attempt: int) -> bool:
        """Wait before the next try; False when it is time to give up: a stop was asked for, or nothing else is left."""
        self.metrics.store_up.set(0)
        self.metrics.retries.labels("store").inc()
        delay = backoff(attempt, first=self.config.backoff_first, last=self.config.backoff_last)
        log.warning("store unavailable, next try in %.1f s: %s", delay, error)
        if not self._paused:
            # Holding unacknowledged batches for long would only starve other writers.
            consumer.pause()
            self._paused = True
        # What was already on its way comes into the hand; the call also answers the broker's heartbeats.
        self._hand.add(consumer.receive(1, 0.0), self._clock())
        self._tick(consumer)
        if self._done:
            return False
        if not self.stop.wait(delay):
            return True
        if self._give_up is None:
            self._give_up = self._clock() + self.config.drain
        time.sleep(min(delay, 0.5))  # the stop request stands, so only a real pause keeps this from spinning
        return self._clock() < self._give_up

    def _tick(self, consumer: Consumer) -> None:
        now = self._clock()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK
        depth = consumer.depth()
        if depth is not None:
            self.metrics.depth.set(depth)
        waiting = None if depth is None else depth + len(self._hand.deliveries) + self._settler.held
        if self._finished(Tick(quiet=now - self._last_delivery, waiting=waiting)):
            self._done = True
