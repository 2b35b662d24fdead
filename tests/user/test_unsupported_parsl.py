"""A Parsl that is older than what is supported: one clear message, before the workflow begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "from heliograph.parsl import MonitoringHub"


@pytest.mark.parametrize("old", ["parsl.monitoring", "parsl.monitoring.radios.multiprocessing"])
def test_a_parsl_without_what_is_needed_is_named(tmp_path: Path, old: str) -> None:
    program = f"import sys; sys.modules[{old!r}] = None; {PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Parsl 20")
    assert "is not supported by Heliograph, which was tested with 20" in last
