"""Matching: which rules a path is for.

In: rules, and paths relative to the root with '/' between their parts. Out: the rules and the expressions that matched.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from heliograph.filewatch.config import BadWatch, Rule, compiled

_ODD = re.compile(r"[*?\[\]/\\\s]")


class Matcher:
    """`re.search` of every rule's expressions, each rule at most once. Raises BadWatch for what is none."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(number, [compiled(p) for p in rule.patterns]) for number, rule in enumerate(rules)]

    def __call__(self, path: str) -> list[tuple[int, str]]:
        """(number of the rule, expression) for each rule that wants this file."""
        found = []
        for number, expressions in self._rules:
            for expression in expressions:
                if expression.search(path):
                    found.append((number, expression.pattern))
                    break
        return found


def suffix_pattern(filetype: object, folder: str) -> str:
    """The regular expression for a file type ('pdf', '.pdf' and '*.pdf' are the same), below a folder relative to the
    root ('' for all of it). Raises BadWatch."""
    if not isinstance(filetype, str):
        raise BadWatch("filetype", f"{filetype!r} is not a text such as '*.pdf'")
    suffix = filetype.removeprefix("*").removeprefix(".")
    if not suffix or _ODD.search(suffix):
        raise BadWatch("filetype", f"{filetype!r} is not a suffix such as 'pdf' (for anything else, use pattern)")
    below = f"^{re.escape(folder)}/(?:.*/)?" if folder else "(?:^|/)"
    return rf"{below}[^/]+\.{re.escape(suffix)}\Z"


def folder_below(path: object, root: str) -> str:
    """`path` as a folder relative to the root, '' for the root itself. Raises BadWatch."""
    if path is None:
        return ""
    if not isinstance(path, str):
        raise BadWatch("path", f"{path!r} is not a path")
    inside = posixpath.relpath(path, root) if posixpath.isabs(path) else posixpath.normpath(path or ".")
    if inside == ".." or inside.startswith("../"):
        raise BadWatch("path", f"{path!r} is not below the working directory {root}")
    return "" if inside == "." else inside
