"""The local time zone of this host, for readers who show times as they were where the run was submitted."""

from __future__ import annotations

import os


def local_zone() -> str:
    """IANA name where it can be told: `TZ`, or where /etc/localtime points; else ''."""
    named = os.environ.get("TZ", "").lstrip(":")
    if "/" in named and not named.startswith("/"):
        return named
    try:
        _, found, zone = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    except OSError:
        return ""
    return zone if found else ""
