"""The short form of the benchmarks, and the frame that they share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from heliograph_store.migrate import migrate
from tests.benchmarks import existing, frame, guard, plots, reading, run
from tests.benchmarks.frame import Figure, at_least, at_most, saved, table, told
from tests.benchmarks.mixed import stream
from tests.benchmarks.pixels import delays
from tests.benchmarks.probes import Probe


def test_no_ratio_has_got_worse() -> None:
    found = guard.figures(True)
    assert len(found) >= 6
    assert not [figure for figure in found if not figure.met], table(found)


def test_a_figure_knows_whether_it_is_met() -> None:
    assert at_least(3, "rate", 10, "records/s", 10).met
    assert at_least(3, "rate", 9, "records/s", 10).met is False
    assert at_most(4, "delay", 1, "s", 1).met
    assert at_most(4, "delay", 2, "s", 1).met is False
    assert told(3, "raw", 1, "s").met is None


def test_the_table_shows_goal_figure_and_answer() -> None:
    figures = [at_least(3, "rate", 123_456, "records/s", 200_000), told(5, "size", 0.25, "", "a note")]
    lines = table(figures).splitlines()
    assert "123,456" in lines[0]
    assert "at least 200,000" in lines[0]
    assert "NOT MET" in lines[0]
    assert "0.25" in lines[1]
    assert lines[1].endswith("(a note)")


def test_what_is_saved_can_be_read_again() -> None:
    figures = [at_most(5, "size", 1, "bytes", 2), told(3, "raw", 1, "s", "note")]
    assert [Figure(**one) for one in json.loads(json.dumps(saved(figures)))] == figures


def test_a_report_says_what_machine_it_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert frame.report(lambda quick: [told(3, f"quick {quick}", 1, "s")], "", ["--quick", "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    assert content["machine"]["cores"] >= 1
    assert content["figures"][0]["name"] == "quick True"
    assert "quick True" in capsys.readouterr().out


def test_a_benchmark_that_fails_costs_only_its_own_figures() -> None:
    figures, trouble = run.run(run.Bench(name="no_such_benchmark", seconds=60))
    assert figures == []
    assert "no_such_benchmark" in trouble


def test_a_benchmark_that_hangs_is_ended() -> None:
    figures, trouble = run.run(run.Bench(name="bench_agent", seconds=0.2))
    assert figures == []
    assert "more than" in trouble


def test_every_benchmark_of_the_full_run_is_there() -> None:
    folder = Path(run.__file__).parent
    assert not [bench.name for bench in (*run.FULL, *run.QUICK) if not (folder / f"{bench.name}.py").exists()]


def test_what_a_benchmark_tells_of_its_progress_is_handed_on(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys; print('… half of it', 'noise', 'the end', sep='\\n', file=sys.stderr)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    last = [""]
    run.listen(process, last)
    process.wait()
    assert capfd.readouterr().err == "… half of it\n"
    assert last == ["the end"]


def case(name: str, served: str, *, p95: float, sent: int = 10, ratio: float = 1.0) -> reading.Took:
    """As `bench_pages` tells it of three databases."""
    sizes = [{"wall": [p95 / 2, p95], "cpu": [cpu, p95], "sent": sent} for cpu in (0.1, 0.2, ratio / 10)]
    return reading.Took.of({"name": name, "served": served, "sizes": sizes})


def test_reading_is_told_by_its_worst_cases() -> None:
    found = [
        case("quick", "index", p95=0.01),
        case("slow", "index", p95=0.4, sent=2_000_000, ratio=1.2),
        case("steep", "index", p95=0.1, ratio=2.0),
        case("minutes", "rollup", p95=0.2, ratio=6.0),
        case("rows", "passing", p95=0.5, ratio=9.0),
        case("text", "text", p95=0.9, ratio=9.0),
    ]
    slow, hungry, large, steep, over_time, rows, text = reading.summed(found)
    assert (slow.value, slow.met, slow.note) == (400, False, "slow, CPU 400 ms; 1 of 4 miss it")
    assert hungry.value == 400
    assert (large.value, large.met, large.note) == (2000, False, "slow; 1 of 6 miss it")
    assert (steep.value, steep.met, steep.note) == (2.0, False, "CPU; steep; 1 of 3 miss it")
    assert (round(over_time.value, 3), over_time.met) == (3.0, False)  # by the run that lasts as long
    assert (rows.value, text.value, text.met) == (500, 900, None)


def test_databases_for_reading_are_made_once_and_only_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIOGRAPH_BIG", str(tmp_path / "big"))
    with reading.folder() as where, pytest.raises(SystemExit, match="name another folder in HELIOGRAPH_BIG"):
        reading.databases(where, 10**12)
    names = ["7.db", "7-long.db", "70.db"]
    for name in names:
        (where / name).touch()
    assert reading.databases(where, 7) == [where / name for name in names]
    (where / "half.db.part-wal").touch()

    def fail(path: Path) -> None:
        path.touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reading.whole(where / "half.db", fail)
    reading.whole(where / "half.db", lambda path: migrate(f"sqlite:///{path}"))
    left = sorted(
        path.name for path in where.iterdir() if path.suffix != ".lock"
    )  # of bringing them to the newest schema
    assert left == [*sorted(names), "half.db"]


def test_a_task_is_seen_when_more_tasks_are_done_than_its_number() -> None:
    shown = [(100.0, 0), (101.0, 5), (103.0, 8)]
    probes = [Probe(run="r", task=task, state="exec_done", at=99.5) for task in (0, 4, 5, 8)]
    assert delays(shown, probes) == [1.5, 1.5, 3.5]  # the ninth task was never shown


def test_older_benchmarks_become_figures() -> None:
    rows = {"none": {"tasks_per_second": 1000, "of_unmonitored": 1.0, "processor_us": 1500.0},
            "heliograph": {"tasks_per_second": 850, "of_unmonitored": 0.85, "processor_us": 1640.0}}  # fmt: skip
    found = existing.overhead({"summary": rows})
    assert [figure.met for figure in found] == [None, None, False]
    assert found[1].note == "0.85 of none; 1,640 µs of processor a task"
    one = {"name": "a state", "value": 5.0, "unit": "µs", "goal": "under 20 µs", "met": True, "spread": None}
    assert existing.cost([one])[0].asked == "under 20 µs"


def test_a_stream_holds_what_it_says() -> None:
    mixed = stream(runs=2, tasks=60, samples=3)
    batches = mixed.batches()
    assert {batch.run for batch in batches} == {"mixed-0", "mixed-1"}
    assert sum(len(batch.records) for batch in batches) == mixed.records
    assert 60 * 3 < mixed.samples < mixed.records
    assert stream(runs=2, tasks=60, samples=3).out == mixed.out


def test_a_run_is_put_into_the_page(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "performance.md").write_text(f"before\n{plots.BEGIN}\nold\n{plots.END}\nafter\n")
    figures = [
        at_least(3, "RabbitMQ to SQLite <one>", 90_000, "records/s", 100_000),
        told(7, "1 nodes: writer", 1.5, "% of a core"),
        told(7, "10 nodes: writer", 12, "% of a core"),
        told(7, "10 nodes: event to committed row, p99", 0.4, "s"),
    ]
    content = {"machine": frame.machine(), "load_after": [0.5], "figures": saved(figures), "troubles": ["one was late"]}
    (tmp_path / "found.json").write_text(json.dumps(content))
    assert plots.main([str(tmp_path / "found.json"), str(tmp_path)]) == 0
    page = (tmp_path / "performance.md").read_text()
    assert page.startswith("before")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "| 90,000 records/s | at least 100,000 | **no** |" in page
    assert "one was late" in page
    for name in ("performance-ingest.svg", "performance-cpu.svg", "performance-delay.svg"):
        drawn = ElementTree.fromstring((tmp_path / "images" / name).read_text())
        assert drawn.tag.endswith("svg")
        assert f"images/{name}" in page
