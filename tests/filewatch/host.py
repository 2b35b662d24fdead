"""An engine as a process of its own, to be killed: `python -m tests.filewatch.host ROOT MEMORY RECORDS CALLBACK`.

In: where to watch, the name of a function in `callbacks`. Out: each record as a line of JSON, written with one call.
"""

from __future__ import annotations

import json
import os
import sys
import time

from heliograph.filewatch.config import Rule, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.portable import portable
from heliograph.messages import Record, to_builtins


def main(root: str, memory: str, records: str, callback: str) -> None:
    handle = os.open(records, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def report(record: Record) -> None:
        os.write(handle, json.dumps(to_builtins(record)).encode() + b"\n")

    rule = Rule(patterns=(r"\.dat$",), callback=portable(f"tests.filewatch.callbacks:{callback}"))
    config = WatchConfig(
        watch="w", root=root, rules=(rule,), interval=0.1, settle=0.1, events=False, memory=memory, max_proc=2
    )
    engine = Engine(config, report=report)
    while not os.path.exists(os.path.join(os.path.dirname(root), "notes", "end")):
        engine.wait(min(0.05, engine.step(time.monotonic())))
    engine.finish(time.monotonic() + 60)


if __name__ == "__main__":
    main(*sys.argv[1:])
