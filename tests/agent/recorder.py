"""A process that records until it has enough and is told to stop; keeps a ledger of its own, without Heliograph."""

from __future__ import annotations

import os
import sys
import time

from heliograph.journal import Journal, Route, now
from heliograph.messages import TaskState

run_dir, ledger, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
journal = Journal.open(Route(run="run-1", run_dir=run_dir))
number = 0
with open(ledger, "w", encoding="ascii") as lines:
    while number < count or not os.path.exists(f"{run_dir}/stop"):
        at, mono = now()
        record = TaskState(at=at, mono=mono, origin=str(os.getpid()), number=number, try_=0, state="running")
        if journal.append(record):
            lines.write(f"{os.getpid()}/{number}\n")
        number += 1
        if number % 100 == 0:
            time.sleep(0.1)
