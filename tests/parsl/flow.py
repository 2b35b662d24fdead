"""A small workflow as a process of its own, for tests that take something away from it.

In: a JSON object on the command line (run_dir, options of the hub, worker_init, what to do in between). Out: lines of
JSON, the last with the results; the exit status is 0 when the workflow went through.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from parsl import python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import ThreadPoolExecutor

from heliograph.parsl import MonitoringHub
from tests.parsl.conftest import config, htex


def main() -> None:
    asked = json.loads(sys.argv[1])
    folder = Path(asked["folder"])
    executors = [htex(worker_init=asked.get("worker_init", ""))] if asked.get("htex", True) else []
    executors.append(ThreadPoolExecutor(label="threads"))
    monitoring = MonitoringHub(**asked["hub"]) if asked["hub"] is not None else None
    began = time.monotonic()
    with DataFlowKernel(config(folder, monitoring, *executors)) as kernel:
        print(json.dumps({"run": kernel.run_id, "run_dir": kernel.run_dir}), flush=True)
        results = work(kernel, [one.label for one in executors], asked.get("pause", 0.0))
        closing = time.monotonic()
    ended = time.monotonic()
    print(json.dumps({"results": results, "closing": ended - closing, "seconds": ended - began}), flush=True)


def work(kernel: DataFlowKernel, labels: list[str], pause: float) -> list[Any]:
    results: list[Any] = []
    for label in labels:

        @python_app(data_flow_kernel=kernel, executors=[label])
        def double(x: int) -> int:
            return 2 * x

        @python_app(data_flow_kernel=kernel, executors=[label])
        def fail() -> None:
            raise ValueError("as it should")

        results += [future.result(timeout=60) for future in [double(i) for i in range(20)]]
        try:
            fail().result(timeout=60)
        except ValueError as error:
            results.append(str(error))
        if pause:
            print(json.dumps({"pausing": label}), flush=True)
            time.sleep(pause)
            results.append(double(100).result(timeout=60))
    return results


if __name__ == "__main__":
    main()
