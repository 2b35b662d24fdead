"""What the example of the Files page leaves to the reader: a simulation that writes its results over time."""

from __future__ import annotations

import time
from pathlib import Path


def write(steps: int) -> int:
    Path("results").mkdir(exist_ok=True)
    for step in range(steps):
        with open(f"results/{step}.h5", "w", encoding="utf-8") as file:
            for _ in range(3):
                file.write("part")
                file.flush()
                time.sleep(0.1)
    return steps
