"""Where a monitor can be attached, and that whatever goes wrong there stays away from the program."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from parsl import python_app
from parsl.dataflow.dflow import DataFlowKernel

import heliograph
from heliograph import FileMonitor
from heliograph.filewatch import attach
from heliograph.filewatch.plan import memory_path
from heliograph.journal_reader import read_all
from heliograph.messages import FileCallback, FileFound, WatchClosed, WatchOpened, WatchStart, WatchStop
from heliograph.messages.commands import decode_command
from heliograph.parsl import MonitoringHub
from tests.apart import apart
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, wait_for
from tests.parsl.conftest import config, of, recorded


def monitor(place: Place, **more: object) -> FileMonitor:
    settings = {"callback": callbacks.names, "pattern": r"\.dat$", "working_dir": place.root, "sleep_dur": 0.1, **more}
    return FileMonitor(**settings)  # type: ignore[arg-type]


def test_a_run_of_plain_python(place: Place) -> None:
    bus = f"spool:{place.notes / 'spool'}"
    with heliograph.run("files", bus=bus, run_dir=place.notes / "run", file_monitor=monitor(place)) as run:
        place.write("a.dat")
    wait_for(lambda: of(WatchClosed, recorded(place.state, run.id)))
    records = recorded(place.state, run.id)
    assert [record.path for record in of(FileFound, records)] == [f"{place.root}/a.dat"]
    assert [record.result for record in of(FileCallback, records)] == ["a.dat"]
    assert [(record.origin, record.number) for record in of(WatchOpened, records)] == [(None, None)]
    assert (place.notes / "run" / "heliograph-watch.log").exists()


def test_a_block_in_a_task_belongs_to_the_task(place: Place) -> None:
    @heliograph.task
    def simulate(number: int) -> None:
        with monitor(place, name="steps"):
            place.write(f"{number}.dat")

    with heliograph.run("files", bus=f"spool:{place.notes / 'spool'}", run_dir=place.notes / "run") as run:
        origin = run.recording.here().origin if run.recording else None
        for number in range(2):
            simulate(number)
        with monitor(place, name="steps"):
            place.write("outside.dat")
    wait_for(lambda: len(of(WatchClosed, recorded(place.state, run.id))) == 3)
    records = recorded(place.state, run.id)
    opened = sorted(
        (record.number if record.number is not None else 9, record.origin) for record in of(WatchOpened, records)
    )
    assert opened == [(0, origin), (1, origin), (9, None)]
    assert sorted(Path(record.path).name for record in of(FileFound, records)) == ["0.dat", "1.dat", "outside.dat"]


def test_async_functions_and_threads(place: Place) -> None:
    shared = monitor(place)

    @heliograph.watch(shared)
    async def write(name: str) -> str:
        await asyncio.sleep(0.01)
        return place.write(name)

    async def both() -> list[str]:
        return list(await asyncio.gather(write("a.dat"), write("b.dat")))

    assert apart(both()) == [str(place.root / "a.dat"), str(place.root / "b.dat")]
    barrier = threading.Barrier(2)

    def in_a_thread(name: str) -> None:
        with shared:
            barrier.wait(10)
            place.write(name)

    threads = [threading.Thread(target=in_a_thread, args=(name,)) for name in ("c.dat", "d.dat")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.wait(30)
    wait_for(lambda: Path(shared.log).read_text().count("watch.closed") == 4)
    assert Path(shared.log).read_text().count("file.found") == 4


def test_the_service_is_asked_where_it_shall_watch(place: Place) -> None:
    pairs = [(callbacks.names, "a"), (None, "b")]
    shared = monitor(place, callback=pairs, pattern=None, where="service", on_change=True)
    with heliograph.run("files", bus=f"spool:{place.notes / 'spool'}", run_dir=place.notes / "run"), shared:
        place.write("a.dat")
    found = [one.payload for folder in place.state.glob("*/journals/*") for one in read_all(folder)]
    start, stop = (decode_command(raw) for raw in found if b"watch.st" in raw)
    assert isinstance(start, WatchStart)
    assert isinstance(stop, WatchStop)
    assert (start.root, start.patterns, start.on_change) == (str(place.root), ["a", "b"], True)
    assert start.callbacks == ["tests.filewatch.callbacks:names", ""]
    assert stop.watch == start.watch
    assert not place.processes("warden")


@pytest.mark.parametrize("attached", ["run", "app"])
def test_a_workflow_whose_watch_cannot_be_opened_goes_on(place: Place, attached: str) -> None:
    place.state.write_text("a file where the folder should be")
    gone = place.notes / "gone"
    gone.mkdir()
    watch = monitor(place, working_dir=gone)
    gone.rmdir()
    hub = MonitoringHub(bus_url=f"spool:{place.notes / 'spool'}", file_monitor=watch if attached == "run" else None)

    def double(x: int) -> int:
        return 2 * x

    with DataFlowKernel(config(place.notes, hub)) as kernel:
        app = python_app(heliograph.watch(watch)(double) if attached == "app" else double, data_flow_kernel=kernel)
        assert [app(x).result() for x in range(5)] == [0, 2, 4, 6, 8]


def test_a_watch_that_cannot_remember_works_all_the_same(place: Place) -> None:
    forgetful = monitor(place, name="same")
    Path(memory_path(str(place.root), (), "same")).mkdir()
    with forgetful:
        place.write("a.dat")
    assert forgetful.wait(30)
    text = Path(forgetful.log).read_text()
    assert "will not remember" in text
    assert "'result': 'a.dat'" in text


def test_a_handle_never_raises(place: Place) -> None:
    handle = attach.opened(monitor(place))
    handle.end()
    handle.end()
    assert handle.wait(time.monotonic() + 20)
    late = attach.opened(monitor(place))
    wait_for(lambda: place.processes("warden"))
    for entry in place.state.glob("*/watches/*/*"):
        if entry.is_dir():
            entry.rename(place.notes / entry.name)
    late.end()
    assert attach.opened(b"no monitor at all").over
    assert attach.opened(monitor(place), route=7).over  # type: ignore[arg-type]
