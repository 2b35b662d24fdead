"""Which failures are the same: exception type, place and message, without what differs from one time to the next.

In: what is known of a failure. Out: a text (a JSON list) that is equal for failures of one kind. Numbers, addresses,
UUIDs, paths and quoted texts go; quoted words (names of attributes, keys, modules) stay: they tell failures apart.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

LONGEST: Final = 240
"""Characters of a message that count."""
_READ: Final = 4000
"""Characters of a message that are looked at."""
_VARYING: Final = re.compile(
    r"(?P<quoted>'[^'\n]{0,300}'|\"[^\"\n]{0,300}\"|`[^`\n]{0,300}`)"
    r"|(?P<url>\b[a-z][a-z+.-]{1,20}://[^\s'\"<>]{1,500})"
    r"|(?P<path>(?:(?<=[\s(=:\[,])|^)(?:~|\.{1,2})?/[^\s'\",;:)\]]{1,500})"
    r"|(?P<hash>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b0[xX][0-9a-fA-F]+\b"
    r"|\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{12,}\b)"
    r"|(?P<number>(?<![A-Za-z_])[-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?|\d+)"
)
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_. -]{0,60}")
_PLACEHOLDERS: Final = {"url": "<url>", "path": "<path>", "hash": "<id>", "number": "#"}
_SHOWN: Final = re.compile(r"(?:^|, ?)([A-Za-z_][\w.]*)\(")


def fingerprint(
    exc_type: str | None, place: str | None, message: str | None, history: str | None, state: str | None
) -> str:
    """One text for all failures of a kind. `history` is asked when the exception itself is not known (a lost
    worker), `state` when nothing is."""
    if exc_type is None and message is None and history:
        exc_type, message = _last_of(history)
    if exc_type is None and message is None and state == "dep_fail":
        exc_type = "DependencyError"
    return json.dumps([exc_type, _place(place), normalised(message or "")], ensure_ascii=False, separators=(",", ":"))


def parts(text: str) -> tuple[str | None, str | None, str]:
    """Exception type, place and message of a fingerprint."""
    exc_type, place, message = json.loads(text)
    return exc_type, place, message


@lru_cache(maxsize=4096)
def normalised(message: str) -> str:
    """The message's first line without what varies."""
    line = message[:_READ].strip().partition("\n")[0]
    return _VARYING.sub(_placeholder, line)[:LONGEST].strip()


def _placeholder(found: re.Match[str]) -> str:
    kind = found.lastgroup or ""
    text = found.group()
    if kind != "quoted":
        return _PLACEHOLDERS[kind]
    inner = text[1:-1]
    if _WORD.fullmatch(inner):
        return text
    return f"{text[0]}{'<path>' if '/' in inner else '…'}{text[0]}"


def _place(place: str | None) -> str | None:
    """'file:line in function' as it is: the line tells two failures of one function apart."""
    return place[:LONGEST] if place else None


def _last_of(history: str) -> tuple[str | None, str]:
    """Type and message of the last exception in a list of their representations."""
    text = history[-_READ:].strip()
    found = list(_SHOWN.finditer(text))
    if not found:
        return None, text
    last = found[-1]
    return last.group(1), text[last.end() :].removesuffix(")").strip("'\"")
