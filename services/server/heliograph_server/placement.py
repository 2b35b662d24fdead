"""Where an embedded database lives: where the user asked, or on this node when that is a network file system.

In: a `sqlite:///` URL and a mount table. Out: the live file, the published one, the spool beside it.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from heliograph.bus import hidden
from heliograph_server.errors import SetupError
from heliograph_server.snapshot import AckAfterPublish, fetch, publish, remove
from heliograph_store.filesystem import network_filesystem
from heliograph_writer.loop import AckNow
from heliograph_writer.ports import Settler

log = logging.getLogger("heliograph.embedded")
SCHEME = "sqlite:///"
SYSTEM_TABLE = Path("/proc/self/mounts")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """`live` is the file that is written, `published` the one the user named; mostly the same."""

    published: Path
    live: Path

    @property
    def live_url(self) -> str:
        return f"{SCHEME}{self.live}"

    @property
    def spool_url(self) -> str:
        return f"spool:{self.published}.spool"

    @property
    def readable_url(self) -> str:
        """The file that can be read from here, also while another host writes its own live file."""
        return f"{SCHEME}{self.live if self.live.exists() else self.published}"

    @property
    def shown(self) -> str:
        return str(self.published)

    @property
    def apart(self) -> bool:
        return self.live != self.published

    def fetch(self) -> None:
        self.live.parent.mkdir(parents=True, exist_ok=True)
        if self.apart:
            fetch(self.published, self.live)

    def leave(self) -> None:
        """Remove the live file: all that was acknowledged is in the published one, and the spool has the rest."""
        if self.apart and self.published.exists():
            remove(self.live)

    def settler(self, *, most: int | None = None) -> Settler:
        """Who acknowledges; `most` as in AckAfterPublish."""
        return AckAfterPublish(lambda: publish(self.live, self.published), most=most) if self.apart else AckNow()


@dataclass(frozen=True, kw_only=True)
class ServerPlacement:
    """A database on its own server: only the spool and the lock of those who write it are files, beside the runs."""

    live_url: str
    spool: Path
    apart: ClassVar[bool] = False

    @property
    def published(self) -> Path:
        """What the lock is named after."""
        return self.spool.with_suffix("")

    @property
    def spool_url(self) -> str:
        return f"spool:{self.spool}"

    @property
    def readable_url(self) -> str:
        return self.live_url

    @property
    def shown(self) -> str:
        return hidden(self.live_url)

    def fetch(self) -> None:
        """Nothing has to be brought here."""

    def leave(self) -> None:
        """Nothing was brought here."""

    def settler(self) -> Settler:
        return AckNow()


def mount_table(path: Path | None = None) -> str:
    """The text of a mount table; empty (everything counts as local) where the system has none."""
    try:
        return (path or SYSTEM_TABLE).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        if path is not None:
            raise
        return ""


def sqlite_path(url: str) -> Path:
    """The absolute path of a SQLite URL. Raises SetupError for anything else."""
    path = url.removeprefix(SCHEME)
    if path == url or not path or path == ":memory:" or "?" in path:
        raise SetupError("the database must be a file here: sqlite:///relative/path or sqlite:////absolute/path")
    return Path(path).absolute()


def place(url: str, *, table: str, state_folder: Path) -> Placement:
    """Decide by the file system under the database's folder."""
    published = sqlite_path(url)
    kind = network_filesystem(published, table)
    if kind is None:
        return Placement(published=published, live=published)
    key = hashlib.sha256(str(published).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    live = state_folder / "databases" / key / published.name
    log.warning(
        "%s is on a network file system (%s): the live file is %s, copies are published at intervals and at the end",
        published,
        kind,
        live,
    )
    return Placement(published=published, live=live)
