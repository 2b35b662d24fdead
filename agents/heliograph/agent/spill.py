"""Moves what an ending agent could not ship to the spool in the run directory.

In: the parcels that wait for one run. Out: the same in `<run_dir>/.heliograph/spool`, from where the submitting node's
agent ships them on. What does not go there stays in its journals.
"""

from __future__ import annotations

import contextlib
import logging
import os

from heliograph.agent.routes import Target
from heliograph.agent.runs import Means, RunPart
from heliograph.bus import BadMessage, BadUrl, BusFull, BusUnavailable
from heliograph.route import spool_path

log = logging.getLogger("heliograph.agent")


def spill(part: RunPart, means: Means) -> int:
    """Move everything that waits for this run; returns how many records went."""
    folder = part.route.run_dir
    if part.outbox.empty() or not folder or not os.path.isdir(folder):
        return 0
    moved = 0
    try:
        target = Target(bus=f"spool:{spool_path(folder)}", fallback=True)
        with contextlib.closing(means.open_publisher(target, means.agent)) as publisher:
            while (parcel := part.outbox.first()) is not None:
                publisher.publish([parcel.outgoing(means.agent)])
                part.outbox.done(parcel, ())
                moved += len(parcel.items)
    except (BusUnavailable, BusFull, BadUrl, BadMessage, OSError) as error:
        log.warning("What is left stays in the journals: %s", error)
    log.info("%d records of run %s moved to its spool", moved, part.route.run)
    return moved
