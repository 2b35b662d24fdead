"""Who a process is, so that others can tell later whether it still lives.

In: /proc. Out: a short text, and the answer.
"""

from __future__ import annotations

import os

from heliograph import state


def owner_of_this() -> str:
    """This process: host, boot, pid, start time."""
    pid = os.getpid()
    start = state.process_start(pid)
    return f"{state.host()}/{state.boot_id()}/{pid}/{'' if start is None else start}"


def owner_alive(owner: str) -> bool:
    """Whether the process lives. One of another host or of something that we cannot read is left alone; one of
    another boot is dead."""
    host, _, rest = owner.rpartition("/")[0].rpartition("/")[0].partition("/")
    pid, start = owner.split("/")[-2:] if owner.count("/") >= 3 else ("", "")
    if host != state.host() or not pid.isdecimal():
        return True
    if rest != state.boot_id():
        return False
    return state.process_alive(int(pid), int(start) if start.isdecimal() else None)
