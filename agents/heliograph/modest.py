"""Makes a process of ours step back behind the user's.

In: how far (a nice value). Out: this process at low priority, by its own value and by its session's.
"""

from __future__ import annotations

import contextlib
import os


def step_back(nice: int, *, detached: bool) -> None:
    """Low priority, from 0 (none) to 19; never a higher one than the process has.

    A nice value alone counts only within the session where the kernel groups processes by session (autogroup, the
    default of many distributions, sched(7)): a detached process is a session of its own and would compete as an equal
    with everything that the user's session runs. So the session's group, too, gets the value, when it is ours alone.
    """
    with contextlib.suppress(OSError):
        os.nice(max(0, nice - os.nice(0)))
    if not detached:
        return
    with contextlib.suppress(OSError, ValueError), open("/proc/self/autogroup", "r+b", buffering=0) as group:
        if int(group.read().rsplit(b" ", 1)[-1]) < nice:
            group.write(b"%d" % nice)
