"""Turns this process into a daemon that belongs to nobody.

In: a process as some recorder started it. Out: a new session, no descriptors but /dev/null, cwd `/`, low priority, all
processors allowed, default signals.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal

from heliograph.modest import step_back


def detach(*, nice: int) -> None:
    """Call before anything is opened. Only the daemon returns."""
    for _ in range(2):  # the second fork: never a session leader, so never with a controlling terminal
        if os.fork() > 0:
            os._exit(0)
        with contextlib.suppress(OSError):
            os.setsid()
    os.chdir("/")
    os.umask(0o077)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, min(most, 65536) if most != resource.RLIM_INFINITY else 65536)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    if null > 2:
        os.close(null)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    be_modest(nice, detached=True)


def be_modest(nice: int, *, detached: bool = False) -> None:
    """Low priority; no processor pinning inherited from a worker; room for many journals."""
    step_back(nice, detached=detached)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
