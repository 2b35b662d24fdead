"""The writer that serves one workflow stays until the last files of its watches have settled."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from heliograph.messages import Batch, Class, Record, RunStarted, Source, WatchClosed, WatchOpened, encode
from heliograph_server import storage
from heliograph_server.embedded import AGENTS, Watch


def test_a_watch_is_open_until_it_says_that_it_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    storage.migrate(url)
    with storage.opened(url) as writer:
        writer.write([_batch(RunStarted(at=1, name="r"), 0), _batch(WatchOpened(at=1, watch="w", root="/"), 100)])
        assert storage.watches_open(url, "run-1")
        writer.write([_batch(WatchClosed(at=2, watch="w"), 200)])
        assert not storage.watches_open(url, "run-1")
        assert not storage.watches_open(url, "another run")


class Asked(Watch):
    """A run that has been over for so long, with these answers about it."""

    def __init__(self, *, over: float, agents: bool, watches: bool) -> None:
        self._seconds, self._agents, self._watches = over, agents, watches
        self._config = type("Config", (), {"quiet": 5.0})()

    def over_for(self) -> float | None:
        return self._seconds

    def agents_at_work(self) -> bool:
        return self._agents

    def files_watched(self) -> bool:
        return self._watches


@pytest.mark.parametrize(
    ("over", "agents", "watches", "leaves"),
    [
        (10.0, False, False, True),
        (10.0, True, False, False),
        (AGENTS + 1, True, False, True),
        (AGENTS + 1, True, True, False),
        (AGENTS + 1, False, True, True),  # nobody is left who could tell of the watch's end
        (1.0, False, False, False),
    ],
)
def test_when_the_writer_leaves(over: float, agents: bool, watches: bool, leaves: bool) -> None:
    asked = Asked(over=over, agents=agents, watches=watches)
    assert asked.may_leave(quiet=100.0, waiting=0) is leaves


def _batch(record: Record, offset: int) -> Batch:
    return Batch(
        version=1,
        run="run-1",
        cls=Class.CONTROL.value,
        agent="a",
        host="node",
        boot="boot",
        sources=[Source(journal="j", offsets=[offset])],
        records=[msgspec.Raw(encode(record))],
    )
