"""The engine: whatever a callback does is recorded, and nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.filewatch.calls import answer
from heliograph.filewatch.config import Callback, Notice, Rule, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.portable import portable
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, Watched, wait_for


@pytest.mark.parametrize(
    ("callback", "outcome", "text"),
    [
        (callbacks.nothing, "ok", None),
        (callbacks.names, "ok", "a.dat"),
        (callbacks.fails, "error", "ValueError: cannot read 1 files"),
        (callbacks.leaves, "error", "SystemExit: 3"),
        (callbacks.is_killed, "killed", "SIGKILL"),
        (callbacks.unprintable, "unprintable", "RuntimeError: no text in here"),
        (callbacks.endless, "ok", "characters cut"),
    ],
)
def test_whatever_a_callback_does_is_recorded(
    place: Place, watching: Callable[..., Watched], callback: Callable[..., object], outcome: str, text: str | None
) -> None:
    place.write("a.dat")
    watch = watching([callback, callbacks.names], ["a", "a"])
    assert watch.finish() == 0
    first, other = sorted(watch.calls, key=lambda call: (call.callback.endswith("names"), call.sequence))[:2]
    assert first.outcome == outcome
    assert (text in first.result) if text is not None and first.result else first.result == text
    assert len(first.result or "") < 40_000
    assert other.outcome == "ok"


def test_a_callback_that_takes_too_long_is_ended_with_all_that_it_started(
    place: Place, watching: Callable[..., Watched]
) -> None:
    place.write("a.dat")
    watch = watching(callbacks.sleeps, timeout=2.0)
    assert watch.finish() == 0
    assert [call.outcome for call in watch.calls] == ["timeout"]
    pids = [pid for note in place.notes.iterdir() for pid in note.name.split("-")]
    assert len(pids) == 2
    end = time.monotonic() + 5
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slow_callback_is_not_in_the_way_of_others(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.dat")
    watch = watching([callbacks.holds_on, callbacks.names], ["^a", "dat"], max_proc=2)
    watch.go_on(lambda: watch.calls)
    place.write("b.dat")
    watch.go_on(lambda: len(watch.calls) == 2)
    assert [call.result for call in watch.calls] == ["a.dat", "b.dat"]
    assert watch.engine.stats.running == 1
    (place.notes / "go").touch()
    assert watch.finish() == 0
    assert [call.result for call in watch.calls] == ["a.dat", "b.dat", "a.dat"]


def test_the_pool_is_bounded(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.dat")
    watch = watching([callbacks.holds_on] * 5, ["a"] * 4 + ["dat"], max_proc=2)
    watch.go_on(lambda: len(list(place.notes.iterdir())) == 2)
    end = time.monotonic() + 0.5
    watch.go_on(lambda: time.monotonic() > end)
    assert len(list(place.notes.iterdir())) == 2
    assert watch.engine.stats.waiting > 0
    (place.notes / "go").touch()
    assert watch.finish() == 0
    assert len(watch.calls) == 5


def test_commands_run_without_a_shell(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a $(touch hacked); b.dat")
    place.write("c.dat")
    echo = Callback(kind="command", name="echo", argv=("echo", "files:", "{}", "end"))
    wrong = Callback(kind="command", name="false", argv=("false",))
    missing = Callback(kind="command", name="missing", argv=("/nowhere/to/be/found",))
    watch = watching([echo, wrong, missing], ["dat", "c.dat", "c.d"])
    assert watch.finish() == 0
    results = {call.callback: (call.outcome, call.result) for call in watch.calls}
    assert results["echo"] == ("ok", f"files: {place.root}/a $(touch hacked); b.dat {place.root}/c.dat end\n")
    assert results["false"][0] == "error"
    assert "exit code 1" in (results["false"][1] or "")
    assert results["missing"][0] == "error"
    assert "/nowhere/to/be/found cannot be started" in (results["missing"][1] or "")
    assert not (place.root / "hacked").exists()


def test_callbacks_stand_where_they_are_told_and_nothing_of_this_process_changes(
    place: Place, watching: Callable[..., Watched]
) -> None:
    place.write("a.dat")
    before = os.getcwd(), dict(os.environ)
    watch = watching(lambda files: os.getcwd(), cwd=str(place.notes))
    assert watch.finish() == 0
    assert [call.result for call in watch.calls] == [str(place.notes)]
    assert (os.getcwd(), dict(os.environ)) == before


def test_notices_carry_what_callbacks_returned_and_cannot_disturb(place: Place) -> None:
    place.write("a.dat")
    told: list[Notice] = []

    def tell(notice: Notice) -> None:
        told.append(notice)
        raise RuntimeError("the mail server is on fire")

    rule = Rule(patterns=("dat",), callback=portable(callbacks.names))
    config = WatchConfig(watch="w", root=str(place.root), rules=(rule,), interval=0.1, settle=0.1, events=False)
    records: list[object] = []
    engine = Engine(config, report=records.append, notify=tell)
    assert engine.finish(time.monotonic() + 20) == 0
    assert [(notice.outcome, notice.result, notice.files) for notice in told] == [("ok", "a.dat", 1)]


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (b"ok -\n", ("ok", None)),
        (b"ok 0\n", ("ok", "")),
        ("error 3\n…later ones do not count".encode(), ("error", "…")),
        (b"ok 2\n\xff\xfe", ("ok", "\ufffd\ufffd")),
        (b"", None),
        (b"ok", None),
        (b"ok 5\nabc", None),
        (b"fine -\n", None),
        (b"ok -1\n", None),
        (b"ok \xc2\xb2\nab", None),
    ],
    ids=["none", "empty", "first", "no-text", "nothing", "half-a-line", "half-a-text", "no-outcome", "negative", "odd"],
)
def test_only_a_whole_answer_counts(said: bytes, meant: tuple[str, str | None] | None) -> None:
    assert answer(said) == meant


def test_the_process_of_a_callback_imports_nothing_of_ours_and_hides_nothing_of_the_users(
    place: Place, watching: Callable[..., Watched]
) -> None:
    """Ours would cost each callback several times the processor time of Python's own start; and its folder holds
    modules with names like `events` and `config`, which a user's may have, too."""
    (place.notes / "events.py").write_text(
        "import sys\n"
        "def loaded(files):\n"
        "    ours = [name for name in sys.modules if name.startswith(('heliograph', 'dataclasses', 'msgspec'))]\n"
        "    return f'{__file__} {ours}'\n"
    )
    callback = Callback(name="events:loaded", search=(str(place.notes),))
    watched = watching(callback)
    place.write("a.dat")
    watched.go_on(lambda: watched.calls)
    assert watched.calls[0].result == f"{place.notes / 'events.py'} []"


def test_whoever_keeps_an_eye_on_a_callback_is_killed(place: Place, watching: Callable[..., Watched]) -> None:
    """As the kernel does where memory runs out: the callback and what it started end, too, and all of it is told."""
    place.write("a.dat")
    watched = watching(callbacks.sleeps)
    watched.go_on(lambda: list(place.notes.iterdir()))
    child, grandchild = (int(pid) for pid in next(place.notes.iterdir()).name.split("-"))
    keeper = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    assert keeper != os.getpid()
    os.kill(keeper, signal.SIGKILL)
    watched.go_on(lambda: watched.calls)
    assert watched.calls[0].outcome == "killed"
    wait_for(lambda: not {keeper, child, grandchild} & set(place.processes()))
