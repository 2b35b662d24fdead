"""The folders of a spool: where they are, who may own them, what waits in them.

In: a `spool:` URL. Out: checked private folders, and the files of batches in them.

    <folder>/new/<sender>/      files that wait: <time>-<random>.batch with records, or .commands
    <folder>/claims/<consumer>/ files that a consumer works on, with its `lock`
    <folder>/dead/              what was put aside (`spool_dead`)
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from heliograph.bus import BadUrl, BusUnavailable, Outgoing
from heliograph.bus.spool_file import pack, sync_folder, write
from heliograph.messages import RECORDS, Class

RECORDS_SUFFIX, COMMANDS_SUFFIX = ".batch", ".commands"
"""A file holds either, because nobody who reads the one may see the other."""
_OLD = 3600.0


@dataclass(frozen=True, kw_only=True)
class Spool:
    """The folders of one spool."""

    root: Path

    @classmethod
    def at(cls, url: str) -> Spool:
        """The spool of a URL `spool:/folder` or `spool:///folder`. The path is taken as it stands, undecoded."""
        path = url.partition(":")[2]
        if path.startswith("//"):
            path = path[2:]
        if not path.startswith("/") or "\0" in path:
            raise BadUrl(f"{url!r} names no absolute folder; write spool:/folder")
        return cls(root=Path(path))

    @property
    def new(self) -> Path:
        return self.root / "new"

    @property
    def claims(self) -> Path:
        return self.root / "claims"

    @property
    def dead(self) -> Path:
        return self.root / "dead"

    def prepare(self) -> None:
        """Create what is missing. Raises BadUrl when others could write there, OSError when it cannot be made."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(self.root, writable_only=True)
        for folder in (self.new, self.claims, self.dead):
            private_folder(folder)

    def prepare_early(self) -> None:
        """`prepare` at opening: a URL that cannot work is told at once, a disk that is away for now is not."""
        with contextlib.suppress(OSError):
            self.prepare()

    def waiting(self, classes: Collection[Class] = RECORDS) -> Iterator[os.DirEntry[str]]:
        """Every file that waits, in no order. Costs one listing a sender, and no look at the files."""
        wanted = {suffix_for(cls) for cls in classes}
        for sender in entries(self.new):
            if sender.is_dir(follow_symlinks=False):
                yield from (e for e in entries(sender.path) if _is_waiting(e) and _suffix_of(e.name) in wanted)

    def put(self, sender: str, batches: Sequence[Outgoing]) -> None:
        """One file with these batches, all of them records or all of them commands, durably. Raises OSError and
        BadUrl."""
        folder = self.new / sender
        suffix = suffix_for(batches[0].cls) if batches else RECORDS_SUFFIX
        pieces = pack(batches)
        for last_try in (False, True):
            try:
                return write(folder, file_name(suffix), pieces)
            except FileNotFoundError:  # the first file, or the folder was tidied away
                if last_try:
                    raise
                self.prepare()
                private_folder(folder)
        return None


def suffix_for(cls: Class) -> str:
    """What the names of files for this class end in."""
    return RECORDS_SUFFIX if cls in RECORDS else COMMANDS_SUFFIX


def _suffix_of(name: str) -> str:
    # What nobody of ours wrote counts as records: the writer puts it aside.
    return COMMANDS_SUFFIX if name.endswith(COMMANDS_SUFFIX) else RECORDS_SUFFIX


def private_folder(folder: Path) -> None:
    """Make a folder that is only ours, or check that it is. Raises BadUrl and OSError."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    _check_private(folder, writable_only=False)


def _check_private(folder: Path, *, writable_only: bool) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise BadUrl(f"spool {folder} is a link or a file; a spool needs a folder of its own")
    if status.st_uid != os.geteuid():
        raise BadUrl(f"spool {folder} belongs to user {status.st_uid}, this process is user {os.geteuid()}")
    if status.st_mode & (0o022 if writable_only else 0o077):
        if writable_only:
            raise BadUrl(f"others may write into the spool {folder}; try: chmod 700 {folder}")
        folder.chmod(0o700)


def safe_name(name: str) -> str:
    """A sender's or consumer's name as a folder name."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100].lstrip(".")
    if not cleaned:
        raise BadUrl(f"a spool needs a sender's name, not {name!r}")
    return cleaned


def file_name(suffix: str = RECORDS_SUFFIX) -> str:
    """A new name: unique, and in order of time."""
    return f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}{suffix}"


@contextmanager
def away(spool: Spool) -> Iterator[None]:
    """Turn what the file system says into what callers wait for."""
    try:
        yield
    except OSError as error:
        raise BusUnavailable(f"spool {spool.root}: {error.strerror or error}") from error
    except BadUrl as error:  # right at opening, changed since
        raise BusUnavailable(str(error)) from error


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_waiting(entry: os.DirEntry[str]) -> bool:
    # Names with a dot are files in the making, and what network file systems leave of deleted open files.
    return not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False)


def tidy(spool: Spool) -> None:
    """Remove what writers that died left behind, and folders of senders that have long gone."""
    before = time.time() - _OLD
    for sender in list(spool.new.iterdir()):
        with contextlib.suppress(OSError):
            with os.scandir(sender) as listing:
                left = [e.path for e in listing if e.name.endswith(".tmp") and e.stat().st_mtime < before]
            for path in left:
                os.unlink(path)
            if sender.stat().st_mtime < before:
                sender.rmdir()  # fails unless empty
    for claim in spool.claims.glob(".*"):
        with contextlib.suppress(OSError):
            if claim.stat().st_mtime < before:
                shutil.rmtree(claim)
