"""The pure pieces of the writer's loop: sorting out deliveries, sizing the next commit, pacing retries.

In: deliveries, times. Out: decoded batches, bad ones with reasons, limits and delays. No I/O here.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from heliograph.bus import Delivery
from heliograph.messages import BadMessage, Batch, decode_batch

LEAST = 16
"""Batches that a commit may always hold: at most 32,000 records, a third of a second's work."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """A delivery whose batch could be decoded."""

    delivery: Delivery
    batch: Batch


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A delivery that can never be written, and why."""

    delivery: Delivery
    reason: str


def sort_out(deliveries: Iterable[Delivery]) -> tuple[list[Received], list[Refused]]:
    """Decode the heads of batches; what is none is refused with its reason."""
    good: list[Received] = []
    bad: list[Refused] = []
    for delivery in deliveries:
        try:
            good.append(Received(delivery=delivery, batch=decode_batch(delivery.body)))
        except BadMessage as error:
            bad.append(Refused(delivery=delivery, reason=str(error)))
    return good, bad


class _Head(msgspec.Struct, array_like=True):
    kind: str
    at: int


_head = msgspec.msgpack.Decoder(_Head)


def oldest_at(batches: Sequence[Batch]) -> int | None:
    """Wall time (microseconds) of the oldest first record of these batches, None when there is none to be read.

    Records of a batch are in the order of their journal, so the first one is the one that waited longest.
    """
    times: list[int] = []
    for batch in batches:
        try:
            times.extend(_head.decode(raw).at for raw in batch.records[:1])
        except (msgspec.DecodeError, OverflowError):
            continue  # a record that cannot be read is put aside by the store, here it only tells no time
    return min(times, default=None)


@dataclass
class Hand:
    """What has been received and not yet written. Full by number, by bytes, or after `linger` seconds."""

    linger: float
    max_bytes: int
    limit: int
    since: float = 0.0
    bytes: int = 0
    deliveries: list[Delivery] = field(default_factory=list)

    def add(self, deliveries: Sequence[Delivery], now: float) -> None:
        if deliveries and not self.deliveries:
            self.since = now
        self.deliveries.extend(deliveries)
        self.bytes += sum(len(d.body) for d in deliveries)

    def room(self) -> int:
        return 0 if self.bytes >= self.max_bytes else max(0, self.limit - len(self.deliveries))

    def patience(self, now: float, idle: float) -> float:
        """Seconds to wait for more: up to `idle` with empty hands, the rest of the linger otherwise, 0 when full."""
        if not self.deliveries:
            return idle
        return max(0.0, self.since + self.linger - now) if self.room() else 0.0

    def take(self) -> list[Delivery]:
        taken, self.deliveries, self.bytes = self.deliveries, [], 0
        return taken


def next_limit(*, limit: int, took: float, target: float, was_full: bool, most: int) -> int:
    """How many batches the next commit may hold: halved when one took too long, doubled when full ones are quick.

    Never fewer than `LEAST`: what a commit takes on a busy machine is mostly waiting, for the disk and for its turn,
    and that is the same for one batch as for sixteen. Fewer would only make what waits longer.
    """
    if took > target:
        return max(min(LEAST, most), limit // 2)
    if was_full and took < target / 2:
        return min(most, limit * 2)
    return limit


def backoff(attempt: int, *, first: float, last: float) -> float:
    """Seconds before retry number `attempt` (from 0): doubling, capped, and spread so that writers do not march."""
    doubled: float = first * 2.0 ** min(attempt, 30)
    return min(last, doubled) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
