"""`heliograph watch`: files, commands and functions from the command line, recorded as a run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph.cli import main
from heliograph.messages import FileCallback, FileFound, RunEnded, RunStarted, WatchClosed, WatchOpened
from tests.filewatch.hosting import write_files
from tests.filewatch.test_webhook import Receiver, receiver
from tests.plain.conftest import Outcome, Program, program, recorded

__all__ = ["program", "receiver"]
ME = (sys.executable, "-m", "heliograph.cli", "watch")
QUICK = ("--interval", "0.1", "--settle", "0.05", "--once")


def test_a_command_gets_the_files_and_all_of_it_is_a_run(program: Program) -> None:
    write_files(program.folder / "out", ["a.png", "deep/b.png", "c.txt", "-rf $(touch evil);.png"])
    got = program.command(*ME, "out", "--filetype", "*.png", "--exec", "ls -1d --", *QUICK, "--name", "plots")
    assert (got.code, got.err) == (0, "")
    root = program.folder / "out"
    wanted = sorted(str(root / name) for name in ("a.png", "deep/b.png", "-rf $(touch evil);.png"))
    assert sorted(f.path for f in got.of(FileFound)) == wanted
    assert sorted(p for c in got.of(FileCallback) for p in c.paths) == wanted
    assert sorted((got.one(FileCallback).result or "").splitlines()) == wanted
    assert not (program.folder / "evil").exists()
    assert (got.one(RunStarted).name, got.one(RunStarted).program) == ("plots", "watch")
    assert got.one(WatchOpened).root == str(root)
    assert (got.one(WatchClosed).files, got.one(WatchClosed).unfinished) == (3, 0)
    assert got.one(RunEnded).exit is None
    assert f"found {root}/a.png" in got.out


def test_what_was_found_is_remembered_unless_it_shall_begin_anew(program: Program) -> None:
    write_files(program.folder / "out", ["a.dat"])
    command = (*ME, "out", "--pattern", r"\.dat$", *QUICK)
    assert "found" in program.command(*command).out
    assert "found" not in program.command(*command).out
    assert "found" in program.command(*command, "--anew").out


def test_one_function_for_each_pattern(program: Program) -> None:
    (program.folder / "work.py").write_text("def one(f): return len(f)\ndef two(f): raise ValueError('no')\n")
    write_files(program.folder / "out", ["a.dat", "b.dat", "c.txt"])
    calls = ("--pattern", "dat$", "--filetype", "txt", "--call", "work:one", "--call", "work:two")
    got = program.command(*ME, "out", *calls, *QUICK)
    assert got.code == 1
    assert {c.callback: c.outcome for c in got.of(FileCallback)} == {"work:one": "ok", "work:two": "error"}
    assert "no" in next(c.result or "" for c in got.of(FileCallback) if c.outcome == "error")
    assert got.one(RunEnded).exit == "exit 1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "--pattern", "x"), "PATH: 'nowhere' is not a folder"),
        ((".",), "pattern: nothing to look for"),
        ((".", "--pattern", "("), "pattern: '(' is not a regular expression"),
        ((".", "--pattern", "x", "--exec", "a 'b"), '--exec: "a \'b" cannot be split'),
        ((".", "--pattern", "x", "--exec", "a", "--exec", "b"), "callback: 2 callbacks for 1"),
        ((".", "--pattern", "x", "--call", "no.such:thing"), "--call: 'no.such:thing' cannot be imported"),
        ((".", "--pattern", "x", "--email", "nobody"), "email: 'nobody' is not a mail address"),
        ((".", "--pattern", "x", "--webhook", "ftp://x"), "webhook: "),
        ((".", "--pattern", "x", "--interval", "-1"), "interval: "),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_begins_no_run(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_STATE_DIR", str(tmp_path / "state"))
    assert main(["watch", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.startswith("heliograph watch: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "runinfo").exists()


def test_it_goes_on_until_it_is_interrupted_and_then_finishes(program: Program) -> None:
    write_files(program.folder / "out", ["a.dat"])
    with subprocess.Popen(
        [*ME, "out", "--pattern", "dat$", "--exec", "cat", "--interval", "0.1", "--settle", "0.05"],
        cwd=program.folder,
        env=program.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"found {program.folder}/out/a.dat\n"
        write_files(program.folder / "out", ["b.dat"], "last words")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert f"found {program.folder}/out/b.dat" in rest
    assert "last words" in rest
    got = Outcome(0, "", "", recorded(program.state))
    assert got.one(WatchClosed).reason == "ended"
    assert got.one(RunEnded).exit is None


def test_what_a_webhook_did_not_take_is_recorded_and_fails_the_command(program: Program, receiver: Receiver) -> None:
    receiver.answers = [(404, {})]
    write_files(program.folder / "out", ["a.dat"], "content")
    got = program.command(
        *ME, "out", "--pattern", "dat$", "--exec", "cat", "--webhook", receiver.url(), "--name", "plots", *QUICK
    )
    assert got.code == 1
    ((_, _, posted),) = receiver.posts
    assert (posted["result"], posted["about"]) == ("content", {"run": "plots"})
    (failed,) = got.of(FileCallback, outcome="error")
    assert failed.callback.startswith("webhook 127.0.0.1:")
    assert "not sent: answered with 404" in (failed.result or "")
