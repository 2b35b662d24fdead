"""What workflows send, as batches ready for the bus: states, samples, nodes of several runs, mixed as they come.

In: how many runs, tasks and samples. Out: `Outgoing` batches and how many records they hold, the same for the same
seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from heliograph.bus import Outgoing
from heliograph.messages import Batch, Class, decode_batch, encode
from tests.benchmarks.bigrun import START, Cluster, batches

BATCH = 1000
"""Records in a batch: an agent sends up to 2,000, four times a second."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Batches of several runs, which take turns."""

    out: Sequence[Outgoing]
    records: int
    samples: int
    """Rows that the store must have in `samples` and `node_samples`."""

    def batches(self) -> list[Batch]:
        return [decode_batch(one.body) for one in self.out]


def stream(*, runs: int, tasks: int, samples: int, seed: int = 1) -> Stream:
    """`tasks` in all, each with about as many samples. A kernel of 64 nodes keeps 4,000 tasks under way."""
    all_of = [list(_run(f"mixed-{i}", tasks // runs, samples, seed + i)) for i in range(runs)]
    mixed = [batch for turn in zip_longest(*all_of) for batch in turn if batch is not None]
    return Stream(
        out=[Outgoing(run=b.run, cls=Class(b.cls), body=encode(b)) for b in mixed],
        records=sum(len(b.records) for b in mixed),
        samples=sum(len(b.records) for b in mixed if b.cls == Class.SAMPLES.value),
    )


def _run(name: str, tasks: int, samples: int, seed: int) -> Iterator[Batch]:
    cluster = Cluster(random=Random(seed), run=name, tasks=tasks, samples=samples, start=START)
    return batches(name, cluster.records(), BATCH)
