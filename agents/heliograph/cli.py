"""The command `heliograph`.

In: arguments. Out: one subcommand's work and its exit code. The server's commands appear when `heliograph-server` is
installed; this package never imports it otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from heliograph import __version__

# Modules that add subcommands of their own: `register(subparsers)`; each sets `handler`: parsed arguments → exit code.
_SERVER = "heliograph_server.cli"
_WITHOUT = "More commands (up, runs, migrate, import, ...) come with heliograph-server, which is not installed here."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    handler = getattr(arguments, "handler", None)
    if handler is None:
        parser.print_help()
        return 2
    return int(handler(arguments) or 0)


def build_parser() -> argparse.ArgumentParser:
    server = _installed(_SERVER)
    parser = _Parser(
        prog="heliograph", description="See what your workflow is doing.", epilog=None if server else _WITHOUT
    )
    parser.add_argument("--version", action="version", version=f"heliograph {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _register_agent(commands)
    for name in ("heliograph.exec_command", "heliograph.watch_command", _SERVER if server else "heliograph.doctor"):
        importlib.import_module(name).register(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says of a command that is not there what it comes with."""

    def error(self, message: str) -> NoReturn:
        super().error(f"{message}. {self.epilog}" if self.epilog else message)


def _register_agent(commands: argparse._SubParsersAction[_Parser]) -> None:
    agent = commands.add_parser("agent", help="ship the journals of this node (usually started by itself)")
    agent.add_argument("--detached", action="store_true", help="run as a daemon, with a log file in the state folder")
    agent.set_defaults(handler=_agent)


def _agent(arguments: argparse.Namespace) -> int:
    from heliograph.agent.__main__ import run  # here: other commands need neither psutil nor a bus

    return run(arguments)


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
