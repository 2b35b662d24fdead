"""Texts from workflows: cut sensibly, and shown as text.

In: any text. Out: one that fits.
"""

from __future__ import annotations

from typing import Final

_PICTURES: Final = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {
    127: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}
"""C0 and C1 controls, and what turns the direction of text around (a name can be made to look like another)."""


def plain(text: str) -> str:
    """Whole lines as they are, with a picture in the place of each control character (U+2400…), and U+FFFD in that of
    what would change how the rest reads."""
    return text.translate(_PICTURES)


def cut(text: str | None, length: int = 80) -> str:
    """At most `length` characters, the end marked with an ellipsis; control characters become spaces."""
    if text is None:
        return ""
    if len(text) <= length and text.isprintable():  # nearly all, and there can be thousands
        return text
    shown = "".join(c if c.isprintable() else " " for c in text[: length + 1])
    return shown if len(text) <= length else shown[: max(0, length - 1)] + "…"


def cut_middle(text: str | None, length: int = 80) -> str:
    """As `cut`, keeping both ends: paths differ at their end."""
    if text is None or len(text) <= length:
        return cut(text, length)
    tail = (length - 1) * 2 // 3
    head = length - 1 - tail
    return cut(text[:head], head) + "…" + cut(text[-tail:], tail)
