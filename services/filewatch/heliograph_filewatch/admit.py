"""From what somebody wants watched to what is watched; and what is refused.

In: an entry of the watch file (the operator's own word), or a request from the network (anybody's). Out: a `Job` for a
child process, or `Refused` with the reason. A request is admitted only as far as the configuration allows it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from heliograph.filewatch.config import BadWatch, Callback, WatchConfig, seconds
from heliograph.filewatch.notify import check_email, check_webhook
from heliograph.filewatch.rules import rules_of
from heliograph.messages import WatchStart
from heliograph_filewatch.config import CALLBACK, Allow, Entry, Limits

MOST_NAME = 200
MOST_PATH = 4096


class Refused(Exception):
    """What was asked for is not done. The text says why, and is recorded for whoever asked."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a child process is told. `real` is the root as it must stay: no link may come into it later."""

    run: str
    config: WatchConfig
    email: str = ""
    webhook: str = ""
    step_cpu: float = 10.0


def admit_entry(entry: Entry, run: str, limits: Limits, *, memory: Path) -> Job:
    """A watch of the watch file. Raises Refused for what cannot be."""
    try:
        callbacks = [_entrys_callback(one) for one in entry.callbacks]
        if entry.callback:
            callbacks = [_entrys_callback(entry.callback)]
        config = WatchConfig(
            watch=entry.name,
            root=os.path.realpath(entry.root),
            rules=rules_of(
                callbacks or None,
                entry.patterns,
                entry.filetypes,
                entry.path or None,
                root=os.path.realpath(entry.root),
            ),
            interval=entry.interval,
            settle=entry.interval if entry.settle is None else entry.settle,
            on_change=entry.on_change,
            timeout=entry.timeout or None,
            max_proc=entry.max_proc,
            memory=str(memory),
        )
        email = check_email(entry.email) if entry.email else ""
        webhook = check_webhook(entry.webhook) if entry.webhook else ""
    except BadWatch as error:
        raise Refused(f"watch {entry.name!r}: {error}") from error
    return Job(run=run, config=config, email=email, webhook=webhook, step_cpu=limits.step_cpu)


def admit_request(asked: WatchStart, run: str, allow: Allow, limits: Limits, *, memory: Path) -> Job:
    """A watch that a run asks for. Raises Refused."""
    _check_size(asked, limits)
    root = _allowed_root(asked.root, allow)
    try:
        interval = max(limits.interval, seconds("interval", asked.interval or 60.0, least=0.0))
        config = WatchConfig(
            watch=asked.watch,
            root=root,
            rules=rules_of(
                [_allowed_callback(name, allow) if name else None for name in asked.callbacks] or None,
                asked.patterns,
                asked.filetypes,
                _path_in(asked, root),
                root=root,
                check=_left_to_the_child,
            ),
            interval=interval,
            settle=seconds("settle", asked.settle, least=0.0) or interval,
            on_change=asked.on_change,
            timeout=min(limits.timeout, seconds("timeout", asked.timeout, least=0.0) or limits.timeout),
            max_proc=1,
            memory=str(memory),
            links=False,  # a link could lead to a file outside of what is allowed
            origin=asked.origin,
            number=asked.number,
        )
    except BadWatch as error:
        raise Refused(str(error)) from error
    return Job(
        run=run,
        config=config,
        email=_allowed_email(asked.email, allow),
        webhook=_allowed_webhook(asked.webhook, allow),
        step_cpu=limits.step_cpu,
    )


def _left_to_the_child(_pattern: object) -> None:
    """Compiling a regular expression can take seconds. It is done where that is bounded, and costs one watch only."""


def _entrys_callback(one: str | list[str]) -> Callback:
    if isinstance(one, list):
        if not one or not all(one):
            raise BadWatch("callback", "a command is a list of texts, its program first")
        return Callback(kind="command", name=os.path.basename(one[0]), argv=tuple(one))
    return _named(one)


def _named(name: str) -> Callback:
    # Looked for in the callback's own process: what it imports is nobody else's business.
    if not CALLBACK.fullmatch(name) or name.endswith(":*"):
        raise BadWatch("callback", f"{name[:MOST_NAME]!r} is not of the form 'package.module:function'")
    return Callback(kind="name", name=name)


def _check_size(asked: WatchStart, limits: Limits) -> None:
    if not 0 < len(asked.watch) <= MOST_NAME or not asked.watch.isprintable():
        raise Refused(f"a watch's name is 1 to {MOST_NAME} printable characters")
    expressions = len(asked.patterns) + len(asked.filetypes)
    if expressions > limits.patterns or len(asked.callbacks) > limits.patterns:
        raise Refused(f"{expressions} patterns and file types; this service takes {limits.patterns}")
    longest = max(map(len, [*asked.patterns, *asked.filetypes, ""]))
    if longest > limits.pattern_length:
        raise Refused(f"a pattern of {longest} characters; this service takes {limits.pattern_length}")
    if asked.on_change not in (True, False) or max(len(asked.root), len(asked.path)) > MOST_PATH:
        raise Refused(f"a path of more than {MOST_PATH} characters")


def _allowed_root(root: str, allow: Allow) -> str:
    """The folder that `root` really is. What is outside is answered the same whether it exists or not."""
    if "\0" in root or not os.path.isabs(root):
        raise Refused("root: not an absolute path")
    real = os.path.realpath(root)
    if not any(real == one or real.startswith(one.rstrip("/") + "/") for one in allow.roots):
        raise Refused("root: not within the folders that this service is configured to watch (allow.roots)")
    if not os.path.isdir(real):
        raise Refused("root: not a folder that the service can see")
    return real


def _path_in(asked: WatchStart, root: str) -> str | None:
    """`path` below the root; an absolute one is meant below the root as it was asked for."""
    if not asked.path:
        return None
    if "\0" in asked.path:
        raise Refused("path: not a path")
    return os.path.join(root, os.path.relpath(asked.path, asked.root)) if os.path.isabs(asked.path) else asked.path


def _allowed_callback(name: str, allow: Allow) -> Callback:
    callback = _named(name)
    module = name.partition(":")[0]
    if name not in allow.callbacks and f"{module}:*" not in allow.callbacks:
        raise Refused(f"callback: {name[:MOST_NAME]!r} is not among those that this service may call (allow.callbacks)")
    return callback


def _allowed_email(text: str, allow: Allow) -> str:
    if not text:
        return ""
    try:
        address = check_email(text)
    except BadWatch as error:
        raise Refused(str(error)) from error
    if not {address, "@" + address.rpartition("@")[2]} & set(allow.emails):
        raise Refused("email: this service may not send mail to that address (allow.emails)")
    return address


def _allowed_webhook(text: str, allow: Allow) -> str:
    if not text:
        return ""
    try:
        url = check_webhook(text)
    except BadWatch as error:
        raise Refused(str(error)) from error
    if not any(_below(url, one) for one in allow.webhooks):
        raise Refused("webhook: this service may not post to that URL (allow.webhooks)")
    return url


_DOTS = re.compile(r"(^|/)\.{1,2}(/|$)")


def _below(url: str, allowed: str) -> bool:
    """Whether a URL is this one or below its path, on the same server."""
    ours, theirs = urlsplit(allowed), urlsplit(url)
    if (ours.scheme.lower(), ours.hostname, ours.port) != (theirs.scheme.lower(), theirs.hostname, theirs.port):
        return False
    if _DOTS.search(unquote(theirs.path).replace("\\", "/")):
        return False
    base = ours.path.rstrip("/")
    return theirs.path in {ours.path, base} or theirs.path.startswith(base + "/")
