"""The node sampler: real values are plausible, unknown ones None; cgroups and GPUs from made-up sources."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest

from heliograph.agent.cgroup import Cgroup, read_cgroup
from heliograph.agent.gpu import Gpus
from heliograph.agent.sample_node import NodeSampler
from heliograph.journal import now
from heliograph.messages import NodeSample, decode, encode


def test_a_sample_of_this_machine() -> None:
    sampler = NodeSampler()
    first = sampler.sample(now())
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    second = sampler.sample(now())
    assert first.cpu_percent is None
    assert second.cpu_percent is not None
    assert 0 < second.cpu_percent <= 100
    assert second.cpu_count == os.cpu_count()
    assert second.memory_total == psutil.virtual_memory().total
    assert second.memory_available is not None
    assert 0 < second.memory_available <= second.memory_total
    assert (second.cpu_user or 0) >= (first.cpu_user or 0) > 0
    assert second.disk_free is not None
    assert second.disk_total is not None
    assert 0 < second.disk_free <= second.disk_total
    assert (second.processes or 0) > 1
    assert decode(encode(second)) == second
    for name in NodeSample.__struct_fields__:
        value = getattr(second, name)
        assert not isinstance(value, float) or math.isfinite(value)


def test_without_a_proc_of_the_kind_the_rest_is_still_sampled(tmp_path: Path) -> None:
    sample = NodeSampler(proc=tmp_path).sample(now())
    assert (sample.cpu_pressure, sample.memory_pressure, sample.io_pressure) == (None, None, None)
    assert (sample.cgroup_memory_limit, sample.cgroup_memory_used, sample.cgroup_cpu_limit) == (None, None, None)
    assert sample.memory_total


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("some avg10=12.34 avg60=1.00 avg300=0.00 total=1\nfull avg10=5.00 avg60=0 avg300=0 total=0\n", 12.34),
        ("full avg10=5.00 avg60=0 avg300=0 total=0\n", None),
        ("some avg10=nan avg60=1.00\n", None),
        ("some avg10=lots\n", None),
        ("", None),
    ],
)
def test_pressure(tmp_path: Path, text: str, value: float | None) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "memory").write_text(text)
    assert NodeSampler(proc=tmp_path).sample(now()).memory_pressure == value


def proc_self(folder: Path, cgroup: str, *mounts: str) -> Path:
    made = folder / "self"
    made.mkdir()
    (made / "cgroup").write_text(cgroup)
    (made / "mountinfo").write_text("".join(f"{line}\n" for line in mounts))
    return made


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


def v2(top: Path, root: str = "/") -> str:
    return f"30 23 0:26 {root} {top} rw,nosuid shared:4 - cgroup2 cgroup2 rw"


def test_version_2_takes_the_smallest_limit_on_the_way_up(tmp_path: Path) -> None:
    top = group(tmp_path / "cg")
    group(top / "job", memory__max="1000", memory__current="900", cpu__max="150000 100000")
    group(top / "job" / "step", memory__max="max", memory__current="10", cpu__max="400000 100000")
    proc = proc_self(tmp_path, "0::/job/step\n", v2(top))
    assert read_cgroup(proc) == Cgroup(memory_limit=1000, memory_used=900, cpu_limit=1.5)


def test_version_2_without_limits_tells_the_use(tmp_path: Path) -> None:
    top = group(tmp_path / "cg")
    group(top / "user", memory__max="max", memory__current="10", cpu__max="max 100000")
    proc = proc_self(tmp_path, "0::/user\n", v2(top))
    assert read_cgroup(proc) == Cgroup(memory_limit=None, memory_used=10, cpu_limit=None)


def test_version_2_in_a_container_whose_group_is_the_mount(tmp_path: Path) -> None:
    top = group(tmp_path / "with blank", memory__max="77", memory__current="7")
    escaped = str(top).replace(" ", "\\040")
    proc = proc_self(tmp_path, "0::/../../elsewhere\n", v2(Path(escaped), "/docker/abc"))
    assert read_cgroup(proc) == Cgroup(memory_limit=77, memory_used=7, cpu_limit=None)


def test_version_1_with_a_controller_each(tmp_path: Path) -> None:
    memory = group(tmp_path / "memory", memory__limit_in_bytes=str((1 << 63) - 4096), memory__usage_in_bytes="5")
    group(memory / "slurm", memory__limit_in_bytes="2000", memory__usage_in_bytes="1500")
    group(memory / "slurm" / "task", memory__limit_in_bytes=str((1 << 63) - 4096), memory__usage_in_bytes="1")
    cpu = group(tmp_path / "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    group(cpu / "slurm", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    proc = proc_self(
        tmp_path,
        "5:memory:/slurm/task\n4:cpuacct,cpu:/slurm\n1:name=systemd:/\n0::/\n",
        f"31 23 0:27 / {memory} rw - cgroup cgroup rw,memory",
        f"32 23 0:28 / {cpu} rw - cgroup cgroup rw,cpu,cpuacct",
        v2(group(tmp_path / "unified")),
    )
    assert read_cgroup(proc) == Cgroup(memory_limit=2000, memory_used=1500, cpu_limit=0.5)


@pytest.mark.parametrize("cgroup", ["", "nonsense", "0::\n", "3:memory\n"])
def test_odd_files_mean_no_limits(tmp_path: Path, cgroup: str) -> None:
    assert read_cgroup(proc_self(tmp_path, cgroup, "short", v2(tmp_path / "missing"))) == Cgroup()


class Nvml:
    """The part of NVIDIA's library that is used. Device 1 has no power meter."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *, broken: bool = False) -> None:
        self.broken, self.inits, self.shutdowns = broken, 0, 0

    def nvmlInit(self) -> None:
        self.inits += 1
        if self.broken:
            raise RuntimeError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.shutdowns += 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=10 + handle, total=100)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=55)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle == 1:
            raise RuntimeError("Not Supported")
        return 72_500

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:
        return 61

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"Some GPU"


def test_gpus_are_read_one_by_one() -> None:
    nvml = Nvml()
    gpus = Gpus(lambda: nvml)
    assert nvml.inits == 0  # nothing is loaded before the first sample
    first, second = gpus.read()
    assert msgspec.structs.asdict(first) == {
        "index": 0, "name": "Some GPU", "utilisation": 55.0, "memory_used": 10, "memory_total": 100, "power": 72.5,
        "temperature": 61.0,
    }  # fmt: skip
    assert (second.index, second.memory_used, second.power) == (1, 11, None)
    gpus.read()
    assert nvml.inits == 1
    gpus.close()
    assert (nvml.shutdowns, gpus.read()) == (1, [])


def test_a_driver_that_fails_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    nvml = Nvml(broken=True)
    sampler = NodeSampler(gpus=Gpus(lambda: nvml))
    assert sampler.sample(now()).gpus == sampler.sample(now()).gpus == []
    assert nvml.inits == 1
    assert [r.message for r in caplog.records] == ["GPUs are not sampled: RuntimeError('Driver Not Loaded')"]


def test_a_node_without_the_library_has_no_gpus_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def missing() -> Any:
        raise ModuleNotFoundError("pynvml")

    assert Gpus(missing).read() == []
    assert caplog.records == []
