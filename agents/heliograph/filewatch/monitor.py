"""`FileMonitor`: which files to look for, and what to do with them.

In: the documented arguments. Out: a checked value that can be sent to other machines; `with` it, around an app with
`heliograph.watch`, or for a whole run, it watches in a process of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal

from heliograph.filewatch.config import BadWatch, WatchConfig, seconds
from heliograph.filewatch.rules import Calls, rules_of


class FileMonitor:
    """Watches a folder for new files, and calls functions with them.

    callback: one for everything, a list with one for each pattern and file type (patterns first), or a list of
        (callback, pattern) pairs. A callback is a function, 'package.module:function', or None to only record. It is
        called in another process on the machine that watches, with the list of new files (full paths); what it returns
        is kept as text.
    pattern: regular expressions, searched for in the path relative to the working directory.
    filetype: suffixes; 'pdf', '.pdf' and '*.pdf' are the same. path: a folder that is put before file types only.
    working_dir: where scanning begins; by default the working directory of whoever opens the watch.
    email, webhook: where return values go.
    sleep_dur: seconds; sets both `interval` (between scans) and `settle` (how long a file must be still).
    max_proc: callbacks at a time. timeout: seconds for one callback, None for no limit.
    on_change: report a file again when it was rewritten.
    name: with it, watches of the same name remember in common what was seen; otherwise those that are the same.
    linger: seconds that the watch may go on after its task or program has ended, until its last files are done with.
    links: whether symbolic links to files count. events: False never uses events of the file system.
    where: 'here', or 'service' to leave the watching to Heliograph's file watching service.

    Raises BadWatch, which names the argument.
    """

    def __init__(  # noqa: PLR0917 - the order is that of the documented interface
        self,
        callback: Calls | Sequence[Any] = None,
        pattern: str | Sequence[str] | None = None,
        filetype: str | Sequence[str] | None = None,
        path: str | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        email: str | None = None,
        sleep_dur: float = 60,
        max_proc: int = 2,
        *,
        interval: float | None = None,
        settle: float | None = None,
        on_change: bool = False,
        timeout: float | None = 3600.0,
        webhook: str | None = None,
        name: str = "",
        linger: float = 3600.0,
        links: bool = True,
        events: bool | None = None,
        where: Literal["here", "service"] = "here",
    ) -> None:
        both = seconds("sleep_dur", sleep_dur, least=0.0)
        self.interval = max(0.05, both) if interval is None else seconds("interval", interval, least=0.05)
        self.settle = both if settle is None else seconds("settle", settle, least=0.0)
        self.linger = seconds("linger", linger, least=0.0)
        self.working_dir = _folder(working_dir)
        self.max_proc, self.on_change, self.timeout = max_proc, bool(on_change), timeout
        self.links, self.events, self.where = bool(links), events, where
        self.email, self.webhook = _addresses(email, webhook)
        if not isinstance(name, str) or len(name) > 100:
            raise BadWatch("name", f"{name!r} is not a text of at most 100 characters")
        self.name = name
        if where not in {"here", "service"}:
            raise BadWatch("where", f"{where!r} is neither 'here' nor 'service'")
        self.rules = rules_of(callback, pattern, filetype, path, root=self.working_dir or os.getcwd())
        if where == "service":
            _callable_there(self)
        self.config(watch="check", root="/")
        self._handles: list[Any] = []
        self._entered: dict[int, list[Any]] = {}

    def __repr__(self) -> str:  # the webhook's address can hold a secret
        patterns = ", ".join(repr(text) for rule in self.rules for text in rule.patterns)
        return f"<FileMonitor {self.name or patterns} in {self.working_dir or 'the working directory'}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": [], "_entered": {}}

    def config(self, *, watch: str, root: str, **more: Any) -> WatchConfig:
        """The engine's configuration of one watch."""
        return WatchConfig(
            watch=watch,
            root=root,
            rules=self.rules,
            interval=self.interval,
            settle=self.settle,
            on_change=self.on_change,
            max_proc=self.max_proc,
            timeout=self.timeout,
            links=self.links,
            events=self.events,
            **more,
        )

    def __enter__(self) -> FileMonitor:
        from heliograph.filewatch.attach import opened  # what a worker needs only where it watches

        handle = opened(self)
        self._handles = [one for one in self._handles if not one.over] + [handle]
        self._entered.setdefault(threading.get_ident(), []).append(handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """The watch goes on by itself until the last files are done with; this returns at once."""
        entered = self._entered.get(threading.get_ident(), [])
        if entered:
            entered.pop().end()
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all watches that `with` opened here have done all their work (nobody needs to). False when that
        takes longer than so many seconds. Those around functions of theirs are not waited for."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return all(handle.wait(deadline) for handle in self._handles)

    @property
    def log(self) -> str:
        """Where the watch that was opened last, and its callbacks, print; '' when there is none."""
        return str(self._handles[-1].log) if self._handles else ""

    def __call__(self, function: Callable[..., Any]) -> Any:
        """As a decorator: `heliograph.watch(monitor)`."""
        from heliograph.filewatch.attach import watch

        return watch(self)(function)


def _folder(named: str | os.PathLike[str] | None) -> str | None:
    if named is None:
        return None
    if not isinstance(named, (str, os.PathLike)):
        raise BadWatch("working_dir", f"{named!r} is not a path")
    folder = os.path.abspath(os.path.expanduser(os.fspath(named)))
    if not os.path.isdir(folder):
        raise BadWatch("working_dir", f"{folder} is not a folder that can be seen from here")
    return folder


def _addresses(email: str | None, webhook: str | None) -> tuple[str | None, str | None]:
    if email is None and webhook is None:
        return None, None
    from heliograph.filewatch.notify import check_email, check_webhook

    if email is not None:
        check_email(email)
    if webhook is not None:
        check_webhook(webhook)
    return email, webhook


def _callable_there(monitor: FileMonitor) -> None:
    for rule in monitor.rules:
        if rule.callback is not None and rule.callback.kind != "name":
            raise BadWatch(
                "callback", f"{rule.callback.name} cannot be imported by the service; name a module's function"
            )
