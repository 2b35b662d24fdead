"""A watchdog of the program's, a signal handler that raises, reaches the program wherever it rings."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import heliograph

ROUNDS = 200


class Late(Exception):
    """What a handler of somebody's own raises."""


@heliograph.task
def short(number: int) -> int:
    return number + 1


@pytest.mark.parametrize("kind", [Late, TimeoutError])
def test_an_alarm_reaches_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """With tasks this short it nearly always rings within the monitoring."""
    monkeypatch.setenv("HELIOGRAPH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HELIOGRAPH_AGENT", "off")
    reached = 0

    def ring(_signal: int, _frame: object) -> None:
        raise kind("too late")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with heliograph.run("watched", run_dir=str(tmp_path)):
            for _ in range(ROUNDS):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0007)
                    end = time.monotonic() + 0.02
                    while time.monotonic() < end:
                        short(1)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except kind:
                    reached += 1
            assert short(1) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert reached >= ROUNDS * 0.99
