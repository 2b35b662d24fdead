"""`heliograph watch PATH --pattern … --exec …`: watches a folder until it is interrupted, or once.

In: a command line. Out: a run of its own with the files that were found and what the commands came to; a line on
standard output for each. Exit code 0, 1 when a callback did not end well or not at all, 2 for what cannot be.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from heliograph.filewatch.config import BadWatch, Callback, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.notify import Notifier, notifier
from heliograph.filewatch.plan import memory_path
from heliograph.filewatch.portable import portable
from heliograph.filewatch.rules import rules_of
from heliograph.messages import FileCallback, FileFound, Record
from heliograph.plain import Run

FAILED, UNUSABLE = 1, 2
WATCH = "files"
_LOOK = 0.5
_MAIL_LEFT = 30.0


def register(subparsers: Any) -> None:
    """Add the command `watch` to the subparsers of `heliograph`."""
    summary = "watch a folder for new files, and run a command with them"
    parser: argparse.ArgumentParser = subparsers.add_parser("watch", help=summary, description=summary)
    parser.add_argument("path", metavar="PATH", help="the folder, with all below it")
    parser.add_argument("--pattern", action="append", default=[], metavar="REGEX", help="of paths below PATH")
    parser.add_argument("--filetype", action="append", default=[], metavar="SUFFIX", help="such as pdf")
    parser.add_argument("--below", metavar="FOLDER", help="folder below PATH to which file types are bound")
    parser.add_argument(
        "--exec",
        action="append",
        default=[],
        dest="commands",
        metavar="COMMAND",
        help="run without a shell, the files for {} or behind it; one for all, or one for each pattern and file type",
    )
    parser.add_argument(
        "--call", action="append", default=[], metavar="MODULE:FUNCTION", help="a Python function instead of a command"
    )
    parser.add_argument("--email", metavar="ADDRESS", help="send what a command or function gives there")
    parser.add_argument("--webhook", metavar="URL", help="post it there")
    parser.add_argument("--interval", type=float, default=10.0, metavar="SECONDS", help="between scans (default: 10)")
    parser.add_argument("--settle", type=float, default=5.0, metavar="SECONDS", help="a file is still (default: 5)")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="of a call (default: 3600)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="commands at a time (default: 2)")
    parser.add_argument("--on-change", action="store_true", help="report a file again when it was rewritten")
    parser.add_argument("--once", action="store_true", help="end when what is there has settled and was dealt with")
    parser.add_argument("--anew", action="store_true", help="do not remember what was found, now or before")
    parser.add_argument("--name", default="", help="name of the run (default: the folder's)")
    parser.add_argument(
        "--database", metavar="URL", help="sqlite:///path or postgresql://…, written by this run itself"
    )
    parser.add_argument("--bus", metavar="URL", help="amqp://…, http://…, spool:/folder")
    parser.add_argument("--hub", metavar="HOST:PORT", help="ask this hub where records go")
    parser.add_argument("--run-dir", metavar="FOLDER", help="default: runinfo/run-… in the working directory")
    parser.set_defaults(handler=watch)


def watch(args: argparse.Namespace) -> int:
    """Watch as the arguments say; the exit code."""
    try:
        root = os.path.realpath(args.path)
        config = _config(args, root)
        notify = notifier(email=args.email, webhook=args.webhook, about={"run": args.name or os.path.basename(root)})
    except (BadWatch, OSError) as error:
        print(f"heliograph watch: {error}", file=sys.stderr)
        return UNUSABLE
    run = Run(
        args.name or os.path.basename(root) or root,
        bus=args.bus,
        hub=args.hub,
        database=args.database,
        run_dir=args.run_dir,
        program="watch",
    )
    with run:
        code = _Watching(config, run, notify, once=args.once).run()
        if code:
            run.end(f"exit {code}")
    return code


def _config(args: argparse.Namespace, root: str) -> WatchConfig:
    """Raises BadWatch and OSError."""
    if not os.path.isdir(root):
        raise BadWatch("PATH", f"{args.path!r} is not a folder")
    if args.commands and args.call:
        raise BadWatch("--call", "give either commands or functions")
    callbacks: list[Any] = [_command(text) for text in args.commands] or [_function(name) for name in args.call]
    rules = rules_of(callbacks or None, args.pattern, args.filetype, args.below, root=root)
    return WatchConfig(
        watch=WATCH,
        root=root,
        rules=rules,
        interval=args.interval,
        settle=args.settle,
        on_change=args.on_change,
        max_proc=args.processes,
        timeout=args.timeout or None,
        memory=None if args.anew else memory_path(root, rules, args.name),
        cwd=os.getcwd(),
    )


def _command(text: str) -> Callback:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise BadWatch("--exec", f"{text!r} cannot be split into words: {error}") from None
    if not argv:
        raise BadWatch("--exec", "a command is needed")
    return Callback(kind="command", name=os.path.basename(argv[0]), argv=tuple(argv))


def _function(name: str) -> Callback:
    here = os.getcwd()
    if here not in sys.path:  # as with `python -m`
        sys.path.insert(0, here)
    return portable(name, "--call")


class _Watching:
    """The engine in this process, until the end. The first signal finishes, the second one breaks off."""

    def __init__(self, config: WatchConfig, run: Run, notify: Notifier, *, once: bool) -> None:
        self._config, self._run, self._notify, self._once = config, run, notify, once
        self._signals = 0
        self._failed = 0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signal)
        try:
            engine = Engine(self._config, report=self._report, notify=self._notify)
        except (BadWatch, OSError) as error:
            print(f"heliograph watch: {error}", file=sys.stderr)
            return UNUSABLE
        if self._once:
            engine.end(time.monotonic())
        while not engine.finished and self._signals < 2:
            if self._signals:
                engine.end(time.monotonic())
            pause = engine.step(time.monotonic())
            self._tell_unsent()
            if not engine.finished:
                engine.wait(min(pause, _LOOK))
        self._notify.close(_MAIL_LEFT if self._signals < 2 else 0.0)
        self._tell_unsent()
        left = engine.close("ended" if engine.finished else "interrupted")
        return FAILED if self._failed or left else 0

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _tell_unsent(self) -> None:
        for record in self._notify.failed():
            self._report(record)

    def _report(self, record: Record) -> None:
        recording = self._run.recording
        if recording is not None:
            recording.journal.append(record)
        if isinstance(record, FileFound):
            _say(f"found {record.path}" + (" (again)" if record.repeat else ""))
        elif isinstance(record, FileCallback):
            self._failed += record.outcome != "ok"
            _say(f"{record.callback}: {record.outcome}" + (f": {record.result}" if record.result else ""))


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more: it is recorded all the same
        print(text.encode(errors="backslashreplace").decode(), flush=True)
