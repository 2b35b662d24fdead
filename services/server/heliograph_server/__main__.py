"""The server's commands by themselves: `python -m heliograph_server writer`, as `heliograph up` starts its roles.

In: the command line. Out: the command's exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from heliograph_server.cli import register


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="heliograph")
    register(parser.add_subparsers(metavar="COMMAND", required=True))
    args = parser.parse_args(arguments)
    return int(args.handler(args))


if __name__ == "__main__":
    sys.exit(main())
