"""What runs beside the workflow steps back behind it, also where the kernel shares processors out by session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
"""There when the kernel groups processes by session, see sched(7)."""


def _after(*calls: str) -> list[str]:
    """(own value, session's value) after each call in a new session; the session's is '-' where there are no groups."""
    code = "import os\nfrom pathlib import Path\nfrom heliograph.modest import step_back\n"
    look = f"p = Path({str(AUTOGROUP)!r}); g = p.read_text().split()[-1] if p.exists() else '-'; print(os.nice(0), g)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "".join(f"{call}\n{look}" for call in calls)],
        start_new_session=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def _group(value: int) -> str:
    return str(value) if AUTOGROUP.exists() else "-"


def test_a_detached_process_and_its_session_step_back_and_never_forward() -> None:
    own = max(10, os.nice(0))
    found = _after("step_back(10, detached=True)", "step_back(5, detached=True)")
    assert found == [f"{own} {_group(10)}"] * 2


def test_a_session_that_is_the_users_keeps_its_share() -> None:
    own = max(10, os.nice(0))
    assert _after("step_back(10, detached=False)") == [f"{own} {_group(0)}"]
