"""An agent that fails: it keeps others from failing in the same way at once."""

from __future__ import annotations

import signal
from pathlib import Path

from heliograph import watchman
from tests.agent.conftest import Place, wait_for


def test_one_that_fails_keeps_the_next_one_from_starting_at_once(place: Place, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "psutil.py").write_text("raise RuntimeError('no processes here')\n")
    failing = place.start_agent(PYTHONPATH=str(broken))
    try:
        wait_for(lambda: failing.poll() is not None or watchman.agent_present(place.namespace), 60)
        assert place.start_agent(PYTHONPATH=str(broken)).wait(60) == 0  # it finds the lock taken, and goes
        assert failing.poll() is None
        failing.terminate()
        assert failing.wait(60) == -signal.SIGTERM
        assert not watchman.agent_present(place.namespace)
    finally:
        failing.kill()
        failing.wait()
