"""Label values for /metrics that cannot explode: known ones stay, what is over the cap becomes 'other'.

In: names that users chose. Out: label values. First come, first kept: a series never changes its meaning while
the hub runs.
"""

from __future__ import annotations

OTHER = "other"
UNKNOWN = "unknown"
LONGEST = 128


class Labels:
    """The values of one label."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self.folded = 0
        """How often a value was folded into 'other'."""

    def of(self, value: str | None) -> str:
        if not value:
            return UNKNOWN
        value = cleaned(value)
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            self.folded += 1
            return OTHER
        self._known.add(value)
        return value


def cleaned(value: str | None) -> str:
    """Short enough to look at, and text that can be encoded."""
    return (value or "")[:LONGEST].encode("utf-8", "replace").decode()
