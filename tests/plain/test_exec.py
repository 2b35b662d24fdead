"""`heliograph exec`: the command behaves as without it, and is a run with one task."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heliograph.messages import RunEnded, RunStarted, TaskDescribed, TaskEnded, TaskRunning, TaskState
from tests.plain.conftest import Outcome, Program, recorded

ME = (sys.executable, "-m", "heliograph.cli", "exec")


def test_a_command_is_a_run_with_one_task(program: Program) -> None:
    got = program.command(*ME, "--name", "copy", "--tag", "a=b", "--", "cat", stdin="in\n")
    assert (got.code, got.out, got.err) == (0, "in\n", "")
    started = got.one(RunStarted)
    assert (started.name, started.program, started.tags) == ("copy", "exec", {"a": "b"})
    assert (got.one(TaskDescribed).app, got.one(TaskDescribed).executor) == ("cat", "exec")
    running, ended = got.one(TaskRunning), got.one(TaskEnded)
    assert running.pid == ended.pid != started.pid
    assert running.create_time
    assert (ended.ok, ended.exit) == (True, 0)
    assert [s.state for s in got.of(TaskState)] == ["pending", "launched", "exec_done"]
    assert (got.one(RunEnded).completed, got.one(RunEnded).failed, got.one(RunEnded).exit) == (1, 0, None)


@pytest.mark.parametrize(
    ("script", "code", "exit_"), [("exit 3", 3, 3), ("exit 255", 255, 255), ("kill -9 $$", 137, -9)]
)
def test_the_exit_code_is_passed_through(program: Program, script: str, code: int, exit_: int) -> None:
    got = program.command(*ME, "--", "sh", "-c", script)
    assert got.code == code
    ended = got.one(TaskEnded)
    assert (ended.ok, ended.exit) == (False, exit_)
    assert got.one(RunEnded).exit == f"exit {code}"
    assert got.of(TaskState)[-1].state == "failed"


def test_a_command_that_is_not_there(program: Program) -> None:
    got = program.command(*ME, "no-such-command")
    assert (got.code, got.err) == (127, "heliograph exec: no-such-command: No such file or directory\n")
    assert got.one(TaskEnded).exc_type == "FileNotFoundError"


def test_a_file_that_is_no_program(program: Program) -> None:
    (program.folder / "text").write_text("")
    got = program.command(*ME, "./text")
    assert got.code == 126


def test_without_a_command_it_says_how(program: Program) -> None:
    got = program.command(*ME, "--name", "x")
    assert got.code == 2
    assert "a command is needed" in got.err


def test_options_after_the_command_are_the_commands(program: Program) -> None:
    got = program.command(*ME, "echo", "--name", "--", "x")
    assert got.out == "--name -- x\n"


def test_times_and_memory_are_those_of_the_command_and_its_children(program: Program) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nb = bytearray(200 << 20)"
    got = program.command(*ME, "--", "sh", "-c", f"{sys.executable} -c '{burn}'; true")
    ended = got.one(TaskEnded)
    assert (ended.cpu_user or 0) + (ended.cpu_system or 0) >= 290_000
    assert (ended.peak_rss or 0) >= 200 << 20
    assert ended.peak_exact
    assert ended.elapsed >= 290_000


def started(program: Program, script: str, **more: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*ME, "--", "sh", "-c", script],
        cwd=program.folder,
        env=program.environ,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )  # type: ignore[call-overload]
    assert process.stdout.readline() == "ready\n"
    return process  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_signals_reach_the_command(program: Program, number: signal.Signals) -> None:
    process = started(program, f"trap 'echo got; exit 9' {number.value}; echo ready; while :; do sleep 0.05; done")
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("got\n", None)
    assert process.returncode == 9


def test_a_signal_that_ends_the_command_is_told(program: Program) -> None:
    process = started(program, "echo ready; exec sleep 60")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    ended = Outcome(0, "", "", recorded(program.state)).one(TaskEnded)
    assert (ended.exit, ended.exc_message) == (-15, "ended by SIGTERM")


def test_control_c_in_a_terminal_reaches_the_command_once(program: Program) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(program.folder)
        script = "trap 'echo got' INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; exit 5"
        os.execve(sys.executable, [*ME, "--", "sh", "-c", script], program.environ)
    out = b""
    try:
        while b"ready" not in out:
            out += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        while True:
            try:
                more = os.read(terminal, 1000)
            except OSError:  # the other side is closed
                break
            if not more:
                break
            out += more
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 5
    assert out.count(b"got") == 1


def test_an_unusable_state_folder_changes_nothing(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    got = program.command(*ME, "--", "sh", "-c", "cat; exit 4", stdin="x", HELIOGRAPH_STATE_DIR=str(tmp_path / "file"))
    assert (got.code, got.out) == (4, "x")


def test_a_program_inside_records_into_the_run(program: Program) -> None:
    (program.folder / "inside.py").write_text(
        "import heliograph\n@heliograph.task\ndef work(): return 1\nprint(work())\n"
    )
    got = program.command(*ME, "--", sys.executable, "inside.py")
    assert got.out == "1\n"
    assert sorted(d.app for d in got.of(TaskDescribed)) == sorted([os.path.basename(sys.executable), "work"])
    assert len({d.origin for d in got.of(TaskDescribed)}) == 2


def test_it_starts_quickly(program: Program) -> None:
    start = time.monotonic()
    program.command(*ME, "--", "true")
    assert time.monotonic() - start < 10
