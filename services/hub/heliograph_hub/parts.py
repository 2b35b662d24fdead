"""What the routes of one hub share, made once by the app and handed in through its state.

In: a HubConfig. Out: the frozen `Parts`; the store opens at first use, so that a hub can start before its database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from heliograph_hub.bodies import Budget
from heliograph_hub.config import HubConfig
from heliograph_hub.lag import Lag, Waiting
from heliograph_hub.meters import Meters
from heliograph_hub.publishing import PublisherPool
from heliograph_hub.tokens import Signer
from heliograph_hub.workload import Workload
from heliograph_store.store import Store


class StoreHolder:
    """The store, opened when first asked for. Raises what opening raises; the next call tries again."""

    def __init__(self, open_: Callable[[], Store]) -> None:
        self._open = open_
        self._lock = threading.Lock()
        self._store: Store | None = None

    def get(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = self._open()
            return self._store

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None


@dataclass(frozen=True, kw_only=True)
class Parts:
    """One hub's config and machinery."""

    config: HubConfig
    signer: Signer = field(repr=False)
    pool: PublisherPool
    budget: Budget
    store: StoreHolder
    meters: Meters
    waiting: Waiting
    lag: Lag
    workload: Workload


def parts_of(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)
