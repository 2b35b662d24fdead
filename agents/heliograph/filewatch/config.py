"""What a watch is told: where to look, for what, what to call, and how patiently.

In: values as a person gave them. Out: frozen, checked values; what is wrong is a `BadWatch` that names the argument.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

MAX_PATTERNS = 1000
Kind = Literal["name", "pickle", "dill", "cloudpickle", "command"]


class BadWatch(ValueError):
    """An argument that cannot be: the text names it, says what is wrong with it and what to do."""

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")
        self.argument = argument

    def __reduce__(self) -> tuple[object, tuple[str, str]]:  # Parsl brings errors over from other processes
        return BadWatch, (self.argument, str(self).removeprefix(f"{self.argument}: "))


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A function or command that another process can call. `name` is how people see it.

    kind: 'name' imports `name` ('package.module:function'); the pickles hold the function in `payload`; 'command' runs
        `argv` without a shell, with the files in the place of an argument '{}', else behind the last one.
    search: folders where the modules of the function are found, beside those of the process that calls it.
    """

    name: str
    kind: Kind = "name"
    payload: bytes = field(default=b"", repr=False)
    argv: tuple[str, ...] = ()
    search: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One callback (None: only record) and the regular expressions that are searched for in a file's path relative to
    the root. A file goes once to each rule that has an expression for it. They are not compiled here: that can take
    seconds, and who reads somebody's rules does not want to wait for it."""

    patterns: tuple[str, ...]
    callback: Callback | None = None

    def __post_init__(self) -> None:
        if not self.patterns:
            raise BadWatch("pattern", "a rule needs at least one regular expression")
        for pattern in self.patterns:
            if not isinstance(pattern, str):
                raise BadWatch("pattern", f"{pattern!r} is not a text with a regular expression")


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """A watch. Times are in seconds.

    watch: its id within the run. root: the absolute path of the folder from which it scans.
    interval: between scans; grows where scans are expensive. settle: how long size and modification time must be still.
    on_change: report a file again when it was rewritten. max_proc: callbacks at a time.
    timeout: of one callback, None for none. memory: the file that remembers what was seen; None: only this engine does.
    session: without on_change a file is reported once a session, and again in a later one only when it was rewritten.
    links: symbolic links to files count as files (links to folders are never followed).
    events: False never uses inotify, None decides by the file system. cwd: where callbacks run, '' is the root.
    origin, number: the task that this watch belongs to, where there is one.
    """

    watch: str
    root: str
    rules: tuple[Rule, ...]
    interval: float = 60.0
    settle: float = 60.0
    on_change: bool = False
    max_proc: int = 2
    timeout: float | None = 3600.0
    memory: str | None = None
    session: str = ""
    links: bool = True
    events: bool | None = None
    cwd: str = ""
    origin: str | None = None
    number: int | None = None

    def __post_init__(self) -> None:
        if not os.path.isabs(self.root):
            raise BadWatch("working_dir", f"{self.root!r} is not an absolute path")
        if not self.rules:
            raise BadWatch("pattern", "nothing to look for: give patterns or file types")
        if sum(len(rule.patterns) for rule in self.rules) > MAX_PATTERNS:
            raise BadWatch("pattern", f"more than {MAX_PATTERNS} patterns")
        seconds("interval", self.interval, least=0.05)
        seconds("settle", self.settle, least=0.0)
        if self.timeout is not None:
            seconds("timeout", self.timeout, least=0.001)
        if isinstance(self.max_proc, bool) or not isinstance(self.max_proc, int) or not 1 <= self.max_proc <= 256:
            raise BadWatch("max_proc", f"{self.max_proc!r} is not a number of processes between 1 and 256")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a callback came to: the content of mails and webhooks. `paths` are cut like those in the record; `at` in
    microseconds UTC, `elapsed` in microseconds."""

    watch: str
    root: str
    callback: str
    sequence: int
    outcome: str
    result: str | None
    paths: tuple[str, ...]
    files: int
    at: int
    elapsed: int
    repeat: bool


Notify = Callable[[Notice], None]
"""Called after each callback's end; never raises, and returns at once: what is slow is its own affair."""


def rule_key(rule: Rule) -> str:
    """A rule's name in the memory: the same after a restart."""
    name = "" if rule.callback is None else rule.callback.name
    return hashlib.sha256("\0".join((name, *rule.patterns)).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def compiled(pattern: object, argument: str = "pattern") -> re.Pattern[str]:
    """The regular expression, compiled. Raises BadWatch."""
    if not isinstance(pattern, str):
        raise BadWatch(argument, f"{pattern!r} is not a text with a regular expression")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadWatch(argument, f"{pattern!r} is not a regular expression: {error}") from error


def seconds(argument: str, value: object, *, least: float) -> float:
    """A finite number of seconds, at least so many. Raises BadWatch."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1e9:
        raise BadWatch(argument, f"{value!r} is not a number of seconds of at least {least:g}")
    return float(value)
