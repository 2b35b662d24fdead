"""Texts from workflows: cut sensibly, and shown as text.

In: any text. Out: one that fits.
"""

from __future__ import annotations


def cut(text: str | None, length: int = 80) -> str:
    """At most `length` characters, the end marked with an ellipsis; control characters become spaces."""
    if text is None:
        return ""
    shown = "".join(c if c.isprintable() else " " for c in text[: length + 1])
    return shown if len(text) <= length else shown[: max(0, length - 1)] + "…"


def cut_middle(text: str | None, length: int = 80) -> str:
    """As `cut`, keeping both ends: paths differ at their end."""
    if text is None or len(text) <= length:
        return cut(text, length)
    tail = (length - 1) * 2 // 3
    head = length - 1 - tail
    return cut(text[:head], head) + "…" + cut(text[-tail:], tail)
