"""Kernels for the tests of the Parsl side: short-lived, on loopback, with a state folder of their own and no agents.

One kernel with HTEX and threads runs the whole workload once for each way of monitoring; many tests look at it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from heliograph import messages
from heliograph.journal_reader import head_of, read_all, segments
from heliograph.parsl import MonitoringHub
from tests.parsl.workload import Outcome, run_all

ROOT = Path(__file__).parent.parent.parent
BIN = os.path.dirname(sys.executable)


def htex(label: str = "htex", *, workers: int = 2, worker_init: str = "") -> HighThroughputExecutor:
    return HighThroughputExecutor(
        label=label,
        address="127.0.0.1",
        max_workers_per_node=workers,
        cores_per_worker=0.1,
        encrypted=False,
        heartbeat_period=1,
        heartbeat_threshold=5,
        provider=LocalProvider(init_blocks=1, max_blocks=1, worker_init=worker_init),
    )


def config(run_dir: Path, monitoring: Any, *executors: Any, **more: Any) -> Config:
    return Config(
        executors=list(executors) or [ThreadPoolExecutor(label="threads")],
        monitoring=monitoring,
        run_dir=str(run_dir / "runinfo"),
        strategy="none",
        **more,
    )


def hub(folder: Path, **more: Any) -> MonitoringHub:
    """A hub whose launcher only writes a route file, so that nothing is left running."""
    return MonitoringHub(bus_url=f"spool:{folder / 'spool'}", **{"resource_monitoring_interval": 1, **more})


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One record, and the journal that it stands in."""

    record: messages.AnyRecord
    journal: str
    pid: int
    owner: bool


def recorded(state_dir: Path, run: str | None = None) -> list[Recorded]:
    """All records of all journals under a state folder: in order within a journal, journals in no order."""
    found: list[Recorded] = []
    for folder in sorted(state_dir.glob("*/journals/*")):
        parts = segments(folder)
        head = head_of(parts[0][1]) if parts else None
        if head is None or (run is not None and head.route.run != run):
            continue
        for one in read_all(folder):
            found.append(
                Recorded(record=messages.decode(one.payload), journal=folder.name, pid=head.pid, owner=head.route.owner)
            )
    return found


def of(kind: type[Any], records: list[Recorded]) -> list[Any]:
    return [one.record for one in records if isinstance(one.record, kind)]


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _private(monkeypatch, tmp_path / "state")
    return tmp_path / "state"


def _private(patch: pytest.MonkeyPatch, state: Path) -> None:
    patch.setenv("HELIOGRAPH_STATE_DIR", str(state))
    patch.setenv("HELIOGRAPH_AGENT", "off")
    patch.setenv("PATH", BIN, prepend=os.pathsep)  # HTEX starts its own programs by name
    patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished kernel: what its tasks gave back, and what was recorded."""

    outcomes: dict[str, Outcome]
    run: str
    run_dir: str
    records: list[Recorded]
    numbers: dict[str, int]


@pytest.fixture(scope="session")
def unmonitored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _run(tmp_path_factory.mktemp("unmonitored"), None)


@pytest.fixture(scope="session")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("fast")
    return _run(folder, hub(folder, tags={"team": "test"}, workflow_name="behaviour", workflow_version="7"))


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("official")
    return _run(folder, hub(folder, official_radio=True))


def _run(folder: Path, monitoring: Any) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        _private(patch, folder / "state")
        executors = htex(), ThreadPoolExecutor(label="threads", max_threads=2)
        with DataFlowKernel(config(folder, monitoring, *executors, retries=1)) as kernel:
            outcomes, numbers = run_all(kernel, folder)
        records = recorded(folder / "state")
        return Run(outcomes=outcomes, run=kernel.run_id, run_dir=kernel.run_dir, records=records, numbers=numbers)


@pytest.fixture
def threads_kernel(tmp_path: Path, state_dir: Path) -> Iterator[DataFlowKernel]:
    with DataFlowKernel(config(tmp_path, hub(tmp_path))) as kernel:
        yield kernel
