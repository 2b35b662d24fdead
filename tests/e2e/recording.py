"""A process that records, at a steady pace, and keeps a ledger of its own: `python -m tests.e2e.recording …`.

In: run, run directory, ledger, tasks a second. Out: records in a journal, and a line in the ledger for each one that
the journal took, until the file `stop` stands in the run directory.
"""

from __future__ import annotations

import os
import sys
import time

from heliograph.journal import Journal, Route
from tests.server.ingest import records


def main(run: str, run_dir: str, ledger: str, pace: float) -> None:
    journal = Journal.open(Route(run=run, run_dir=run_dir, sample_interval=0))
    began = time.monotonic()
    with open(ledger, "w", encoding="ascii", buffering=1) as lines:
        for fact, record in records(run, sys.maxsize):
            _, number, state, at = fact
            if journal.append(record):
                lines.write(f"{number} {state} {at}\n")
            if state == "sample":
                time.sleep(max(0.0, began + number / pace - time.monotonic()))
                if os.path.exists(f"{run_dir}/stop"):
                    break
    journal.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
