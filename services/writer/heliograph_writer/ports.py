"""What the writer needs from the store and from whoever acknowledges, as narrow interfaces.

In: nothing. Out: protocols that heliograph_store.write and the test doubles satisfy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Protocol

from heliograph.bus import Consumer, Delivery
from heliograph.messages import Batch
from heliograph_store.errors import StoreUnavailable

__all__ = ["Settler", "StoreUnavailable", "StoreWriter", "Written"]


class Written(Protocol):
    """What one commit did."""

    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def aside(self) -> Sized: ...
    @property
    def late(self) -> int: ...


class StoreWriter(Protocol):
    def write(self, batches: Sequence[Batch], /) -> Written:
        """One transaction. Raises StoreUnavailable (try again) or BadMessage (one of these can never be written)."""


class Settler(Protocol):
    """Decides when a committed delivery is acknowledged."""

    @property
    def held(self) -> int:
        """Committed, but not yet acknowledged."""

    def settle(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> None: ...
    def tick(self, consumer: Consumer) -> None: ...
    def finish(self, consumer: Consumer) -> None: ...
    def forget(self) -> None:
        """The connection is gone, and with it what could have been acknowledged on it."""
