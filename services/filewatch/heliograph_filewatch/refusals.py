"""Tells whoever asked for a watch that there will be none.

In: the record that says so. Out: the record on the bus, confirmed; so nothing of a refused request stays on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from heliograph.bus import BusUnavailable, Publisher
from heliograph.frames import Frame
from heliograph.messages import BadMessage, Class, Record
from heliograph.payload import payload_of
from heliograph_filewatch.pump import batch_of


class Refusals:
    """Belongs to the service's thread."""

    def __init__(self, open_publisher: Callable[[], Publisher]) -> None:
        self._open = open_publisher
        self._publisher: Publisher | None = None
        self._journal = f"refused-{os.urandom(8).hex()}"
        self._told = 0

    def tell(self, run: str, record: Record) -> None:
        """Raises BusUnavailable: then the request comes again."""
        if self._publisher is None:
            self._publisher = self._open()
        frame = Frame(self._told, self._told + 1, 0, payload_of(record))
        try:
            self._publisher.publish([batch_of(run, Class.CONTROL, self._journal, [frame])])
        except BusUnavailable:
            self.close()
            raise
        except BadMessage:  # a run's name that no bus takes: then nobody could have asked for it either
            return
        self._told += 1

    def close(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
