"""What the service was told: its own watches, and what others may ask of it.

In: a TOML file. Out: frozen, checked values; what is wrong is a BadWatchFile that names the file and the place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tomllib

from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.notify import check_email, check_webhook

CALLBACK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:([^\W\d]\w*(\.[^\W\d]\w*)*|\*)")
DEFAULT_RUN = "file watches"


class BadWatchFile(ValueError):
    """A watch file that cannot be used. The text is one line: which file, what is wrong, what to do."""


class Allow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What requests may name. Nothing, unless it is said here.

    roots: folders, with all below them. callbacks: 'package.module:function', or 'package.module:*'. emails: addresses,
    or '@example.org' for all of a host. webhooks: URLs, with all below their path.
    """

    roots: list[str] = []
    callbacks: list[str] = []
    emails: list[str] = []
    webhooks: list[str] = []


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on requests, and on what one watch may cost. Times are in seconds."""

    watches: int = 32
    """Requested watches at a time, over all runs."""
    watches_per_run: int = 8
    patterns: int = 50
    pattern_length: int = 300
    interval: float = 5.0
    """The least interval that a request gets."""
    timeout: float = 3600.0
    """The longest that a requested watch's callback may take."""
    step_cpu: float = 10.0
    """CPU time of one step: a regular expression that never ends is stopped by this."""
    lost_after: float = 600.0
    """How long a run may be silent beyond its lease before its watches are stopped."""
    unknown_after: float = 3600.0
    """How long a watch may go on for a run of which the store knows nothing."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[watch]]`. `callback` is 'package.module:function' or a command as a list; `callbacks` are several of them,
    one for each pattern, then for each file type. Times are in seconds, `timeout` 0 is none."""

    root: str
    name: str = ""
    run: str = DEFAULT_RUN
    patterns: list[str] = []
    filetypes: list[str] = []
    path: str = ""
    callback: str | list[str] = ""
    callbacks: list[str | list[str]] = []
    email: str = ""
    webhook: str = ""
    interval: float = 60.0
    settle: float | None = None
    timeout: float = 3600.0
    max_proc: int = 2
    on_change: bool = False


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    allow: Allow = Allow()
    limits: Limits = Limits()
    watch: list[Entry] = []


@dataclass(frozen=True, kw_only=True)
class WatchFile:
    """A watch file's content, its folders absolute."""

    allow: Allow = field(default_factory=Allow)
    limits: Limits = field(default_factory=Limits)
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """All that a service needs. `state` is a folder of its own, on a local disk; times are in seconds."""

    state: Path
    bus: str = field(repr=False)
    database: str = field(repr=False)
    watches: WatchFile = field(default_factory=WatchFile)
    look: float = 2.0
    """Between looks at the runs that have watches."""
    drain: float = 8.0
    """For running callbacks, when the service is stopped."""
    keep: float = 30 * 86400.0
    """For which it is remembered that a watch has ended, so that no late request begins it again."""


def load(path: Path) -> WatchFile:
    """Read a watch file. Raises BadWatchFile."""
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise BadWatchFile(f"the watch file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadWatchFile(f"{path} is not a TOML file: {error}") from None
    try:
        return parsed(content)
    except BadWatchFile as error:
        raise BadWatchFile(f"{path}: {error}") from None


def parsed(content: Mapping[str, Any]) -> WatchFile:
    """The content of a watch file, checked. Raises BadWatchFile."""
    try:
        found = msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        raise BadWatchFile(str(error)) from None
    _check_limits(found.limits)
    entries = tuple(_named(entry, number) for number, entry in enumerate(found.watch, 1))
    names = [(entry.run, entry.name) for entry in entries]
    for run, name in names:
        if names.count((run, name)) > 1:
            raise BadWatchFile(f"two watches of the run {run!r} are called {name!r}; give each a name of its own")
    return WatchFile(allow=_checked(found.allow), limits=found.limits, entries=entries)


def _checked(allow: Allow) -> Allow:
    roots = []
    for root in allow.roots:
        if not os.path.isabs(root):
            raise BadWatchFile(f"allow.roots: {root!r} is not an absolute path")
        roots.append(os.path.realpath(root))
    for callback in allow.callbacks:
        if not CALLBACK.fullmatch(callback):
            raise BadWatchFile(f"allow.callbacks: {callback!r} is neither 'package.module:function' nor '…:*'")
    try:
        emails = [_email(text) for text in allow.emails]
        webhooks = [check_webhook(text) for text in allow.webhooks]
    except BadWatch as error:
        raise BadWatchFile(f"allow: {error}") from None
    return Allow(roots=roots, callbacks=allow.callbacks, emails=emails, webhooks=webhooks)


def _email(text: str) -> str:
    """An address, or '@host' for all of a host's."""
    return check_email(f"x{text}")[1:] if text.startswith("@") else check_email(text)


def _check_limits(limits: Limits) -> None:
    for name in Limits.__struct_fields__:
        if not getattr(limits, name) > 0:
            raise BadWatchFile(f"limits.{name} must be more than 0")


def _named(entry: Entry, number: int) -> Entry:
    where = f"watch {entry.name or number}"
    if not os.path.isabs(entry.root):
        raise BadWatchFile(f"{where}: root {entry.root!r} is not an absolute path")
    if entry.callback and entry.callbacks:
        raise BadWatchFile(f"{where}: give either callback or callbacks")
    return msgspec.structs.replace(entry, name=entry.name or f"watch-{number}")
