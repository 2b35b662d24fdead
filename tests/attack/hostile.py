"""A workflow of tasks that do to their process whatever a process can do to itself; run with monitoring and without.

`python -m tests.attack.hostile FOLDER on|off` prints what became of each task, as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


@python_app
def own_files(path):
    import os

    opened = [os.open(f"{path}-{n}", os.O_RDWR | os.O_CREAT) for n in range(3)]
    for fd in opened:
        os.write(fd, b"mine\n")
        os.close(fd)
    return len(opened)


@python_app
def steal(path):
    """Take the number of the descriptor that a journal has."""
    import os

    mine = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(mine, b"mine\n")
    for fd in os.listdir("/proc/self/fd"):
        try:
            if ".seg" in os.readlink(f"/proc/self/fd/{fd}"):
                os.dup2(mine, int(fd))
        except OSError:
            continue
    return True


@python_app
def no_directory():
    import os
    import tempfile

    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    return "gone"


@python_app
def no_environment():
    import os

    os.environ.clear()
    return len(os.environ)


@python_app
def limit(name, value):
    import resource

    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (hard if value is None else value, hard))
    return value


@python_app
def fork():
    import os

    pid = os.fork()
    if pid == 0:
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@python_app
def children():
    """An agent started from here must not be this program's child."""
    import os

    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return "none"


@python_app
def pool(kind):
    import math
    import multiprocessing

    with multiprocessing.get_context(kind).Pool(2) as workers:
        return workers.map(math.factorial, range(5))


@python_app
def ring(seconds):
    """The alarm goes on after the task."""
    import signal

    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    return seconds


@python_app
def odd_error():
    raise ValueError("\ud800 \0 " + "x" * 2_000_000)


@python_app
def too_deep():
    def deeper(n):
        return deeper(n + 1)

    return deeper(0)


@python_app
def leave(how):
    raise SystemExit(how)


@python_app
def patch_write():
    import os

    if not hasattr(os, "really_write"):  # the same worker may take it twice
        os.really_write = os.write

    def broken(_fd, _data):
        raise RuntimeError("not this one")

    os.write = broken
    return "patched"


@python_app
def unpatch_write():
    import os

    os.write = getattr(os, "really_write", os.write)
    return "as before"


@python_app
def rest(seconds):
    """A journal that could not be written is tried again after a second, and tells then what it could not take."""
    import time

    time.sleep(seconds)
    return seconds


@python_app
def forget_modules():
    import sys

    for name in [name for name in sys.modules if name.startswith("heliograph")]:
        del sys.modules[name]
    return "gone"


@python_app
def wrong_clock():
    import time

    time.time, time.time_ns, time.monotonic = (lambda: -1.0), (lambda: 1 << 70), (lambda: 0.0)
    return "wrong"


@python_app
def die():
    import os

    os._exit(9)


Step = tuple[str, Callable[[], Any]]


def steps(folder: Path) -> list[Step]:
    """What changes a process is done twice, since there are two workers; one of them may take both."""
    twice: list[list[Step]] = [
        [(f"steal {n}", lambda n=n: steal(str(folder / f"stolen-{n}"))) for n in range(2)],
        [(f"no directory {n}", no_directory) for n in range(2)],
        [(f"small files {n}", lambda: limit("RLIMIT_FSIZE", 100)) for n in range(2)],
        [("fork with small files", fork)],
        [(f"any files {n}", lambda: limit("RLIMIT_FSIZE", None)) for n in range(2)],
        [(f"few files {n}", lambda: limit("RLIMIT_NOFILE", 8)) for n in range(2)],
        [(f"many files {n}", lambda: limit("RLIMIT_NOFILE", None)) for n in range(2)],
        [("fork", fork), ("children", children), ("pool", lambda: pool("fork"))],
        [(f"ring {n}", lambda: ring(0.001)) for n in range(2)],
        [("fork while it rings", fork)],
        [(f"ring no more {n}", lambda: ring(0)) for n in range(2)],
        [("odd error", odd_error), ("too deep", too_deep), ("leave", lambda: leave(7))],
        [(f"patch {n}", patch_write) for n in range(2)],
        [(f"unpatch {n}", unpatch_write) for n in range(2)],
        [(f"rest {n}", lambda n=n: rest(1.2 + n)) for n in range(2)],
        [(f"forget modules {n}", forget_modules) for n in range(2)],
        [(f"wrong clock {n}", wrong_clock) for n in range(2)],
        [(f"no environment {n}", no_environment) for n in range(2)],
        [("die", die), ("own files", lambda: own_files(str(folder / "own")))],
    ]
    return [step for some in twice for step in some]


def outcome(future: Any) -> str:
    try:
        return repr(future.result(timeout=60))
    except Exception as error:
        return re.sub(r"worker \d", "a worker", f"{type(error).__name__}: {str(error)[:100]!r}")


def main(folder: Path, monitored: bool) -> None:
    more: dict[str, Any] = {}
    if monitored:
        from heliograph.parsl import MonitoringHub

        more["monitoring"] = MonitoringHub(bus_url=f"spool:{folder}/bus", resource_monitoring_interval=1)
    executor = HighThroughputExecutor(
        label="htex",
        address="127.0.0.1",
        max_workers_per_node=2,
        cores_per_worker=0.1,
        encrypted=False,
        heartbeat_period=1,
        heartbeat_threshold=60,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = Config(executors=[executor], run_dir=str(folder / "runinfo"), strategy="none", **more)
    with parsl.load(config):
        print(json.dumps({name: outcome(submit()) for name, submit in steps(folder)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "on")
