"""`heliograph exec -- COMMAND…`: any command as a run with one task.

In: a command line. Out: the command's own exit code; its standard streams are untouched, signals reach it. Recording
stands beside it: whatever fails there, the command runs as if it had been started alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from heliograph import state, worker
from heliograph.failure import redact
from heliograph.journal import now
from heliograph.messages import TaskEnded, TaskRunning
from heliograph.plain import Run
from heliograph.recording import Recording
from heliograph.spans import Span, guarded

NOT_FOUND, NOT_EXECUTABLE, SIGNALLED = 127, 126, 128
"""Exit codes as shells give them; a command that signal N ended gives SIGNALLED + N."""
EXECUTOR = "exec"
_FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH")
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def register(subparsers: Any) -> None:
    """Add the command `exec` to the subparsers of `heliograph`. Its `handler`: parsed arguments → exit code."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "exec", help="run a command as a monitored run", description="Run a command as a run with one task."
    )
    parser.add_argument("--name", default="", help="name of the run (default: the command's)")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")
    parser.add_argument(
        "--database", metavar="URL", help="sqlite:///path or postgresql://…, written by this run itself"
    )
    parser.add_argument("--bus", metavar="URL", help="amqp://…, http://…, spool:/folder")
    parser.add_argument("--hub", metavar="HOST:PORT", help="ask this hub where records go")
    parser.add_argument("--run-dir", metavar="FOLDER", help="default: runinfo/run-… in the working directory")
    parser.add_argument("--interval", type=float, default=10.0, metavar="SECONDS", help="between samples (default: 10)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    parser.set_defaults(handler=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command of the parsed arguments; its exit code."""
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        args.parser.error("a command is needed: heliograph exec [options] -- COMMAND …")
    run = Run(
        args.name or os.path.basename(command[0]),
        tags=dict(tag.partition("=")[::2] for tag in args.tag),
        bus=args.bus,
        hub=args.hub,
        database=args.database,
        run_dir=args.run_dir,
        sample_interval=args.interval,
        program="exec",
    )
    with run:
        code = _run(run, command)
        if code:
            run.end(f"exit {code}")
    return code


def _run(run: Run, command: Sequence[str]) -> int:
    recording = run.recording
    task = None if recording is None else guarded(lambda: _Task(recording, command))
    with _Signals() as signals:
        try:
            process = subprocess.Popen(command)  # the command inherits our streams, folder and environment
        except OSError as error:
            reason = error
            print(f"heliograph exec: {command[0]}: {error.strerror}", file=sys.stderr)
            if task is not None:
                guarded(lambda: task.not_started(reason))
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        signals.send_to(process.pid)
        if task is not None:
            guarded(lambda: task.running(process.pid))
        _, status, usage = os.wait4(process.pid, 0)
        signals.send_to(None)
        code = process.returncode = os.waitstatus_to_exitcode(status)  # nothing is left for subprocess to wait for
        if task is not None:
            guarded(lambda: task.ended(process.pid, code, usage))
    return code if code >= 0 else SIGNALLED - code


class _Task:
    """Records of the command as task 0, try 0. Made before the command starts, so that its whole life is the try's."""

    def __init__(self, recording: Recording, command: Sequence[str]) -> None:
        self._journal = recording.journal
        self._origin = recording.origin
        self._span = Span(recording, execute, executor=EXECUTOR, name=os.path.basename(command[0]))
        self._at, self._mono = now()
        self._own_peak = worker.high_water() or 0

    def running(self, pid: int) -> None:
        self._journal.append(
            TaskRunning(
                at=self._at,
                mono=self._mono,
                origin=self._origin,
                number=self._span.number,
                try_=0,
                host=state.host(),
                pid=pid,
                create_time=state.process_start(pid),
                executor=EXECUTOR,
                cpu_user=0,
                cpu_system=0,
            )
        )

    def ended(self, pid: int, code: int, usage: Any) -> None:
        """`usage` is of the command and of all its descendants that were waited for; the peak is that of the largest
        process, exact unless it is no more than ours, which the kernel hands on at the start of a command."""
        peak = usage.ru_maxrss * _MAXRSS_UNIT
        text = None if code == 0 else _ending(code)
        self._record(
            pid,
            ok=code == 0,
            exit=code,
            exc_message=None if text is None else redact(text),
            cpu_user=int(usage.ru_utime * 1e6),
            cpu_system=int(usage.ru_stime * 1e6),
            peak_rss=peak,
            peak_exact=peak > self._own_peak,
        )
        self._span.done(None if code == 0 else ChildProcessError(text))

    def not_started(self, error: OSError) -> None:
        self._record(0, ok=False, exc_type=type(error).__name__, exc_message=redact(str(error), 1024))
        self._span.done(error)

    def _record(self, pid: int, *, ok: bool, **known: Any) -> None:
        at, mono = now()
        self._journal.append(
            TaskEnded(
                at=at,
                mono=mono,
                origin=self._origin,
                number=self._span.number,
                try_=0,
                host=state.host(),
                pid=pid,
                ok=ok,
                elapsed=max(0, mono - self._mono),
                **known,
            )
        )


class _Signals:
    """Signals for us go to the command; one that comes before it runs, as soon as it does. What a terminal sends to the
    whole foreground group reaches the command without us; what is ignored here (nohup) stays ignored there."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._early: list[int] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        for name in _FORWARDED:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def send_to(self, pid: int | None) -> None:
        """The command has this pid now, or has ended (None)."""
        self._pid = pid
        early, self._early = self._early, []
        for number in early:
            self._send(number)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if not (number in _FROM_TERMINAL and _in_foreground()):
            self._send(number)

    def _send(self, number: int) -> None:
        if self._pid is None:
            self._early.append(number)
        else:
            with contextlib.suppress(OSError):
                os.kill(self._pid, number)


def _in_foreground() -> bool:
    """Whether a terminal's keys signal our process group, and so the command itself."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
