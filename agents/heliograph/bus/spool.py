"""A folder as a bus: the carrier without a broker, on any file system that both sides see.

In: batches, one file for each `publish`. Out: the same batches, to exactly one consumer at a time.

A file is written under a hidden name, synced, and renamed: it waits whole or not at all. A consumer claims a file by
renaming it into its own claim folder; of two that try, one succeeds. Every consumer holds a flock on its claim
folder for as long as it lives, so the claims of a dead one are found without pids or clocks and wait again.
Network file systems send no events, so listings are compared, ever more slowly (up to once a second) while idle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import heapq
import os
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from heliograph.bus import MAX_BODY, BadMessage, BadUrl, Delivery, Outgoing
from heliograph.bus.spool_dead import SpoolDeadLetters, bury, bury_file
from heliograph.bus.spool_file import read
from heliograph.bus.spool_folder import (
    COMMANDS_SUFFIX,
    RECORDS_SUFFIX,
    Spool,
    away,
    private_folder,
    safe_name,
    suffix_for,
    tidy,
)
from heliograph.messages import RECORDS, Class

__all__ = ["SpoolConsumer", "SpoolDeadLetters", "SpoolPublisher"]

RESCUED = "rescued"
"""Sender folder of files whose consumer died or closed before it acknowledged them."""
_FIRST_NAP, _LONGEST_NAP = 0.05, 1.0
_LOOK_FOR_DEAD = 3.0
_TIDY = 600.0
_OLD = 3600.0
_LISTED = 50_000
_READ_TRIES = 5
_FILE = 64 << 20
"""Bytes of batches after which a `publish` begins another file; well below what readers refuse."""
_NO_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_OURS = re.compile(r"\d{20}-[0-9a-f]{12}(" + re.escape(RECORDS_SUFFIX) + "|" + re.escape(COMMANDS_SUFFIX) + ")")
Flock = Callable[[int, int], None]


class SpoolPublisher:
    """Writes batches as files into the sender's own subfolder."""

    def __init__(self, url: str, *, name: str) -> None:
        self._spool = Spool.at(url)
        self._sender = safe_name(name)
        self._spool.prepare_early()

    def publish(self, batches: Sequence[Outgoing]) -> None:
        for batch in batches:
            if len(batch.body) > MAX_BODY:
                raise BadMessage(f"batch of {len(batch.body)} bytes; the bus takes up to {MAX_BODY}")
        with away(self._spool):
            if not batches:
                self._spool.prepare()
            for some in _files(batches):
                self._spool.put(self._sender, some)

    def close(self) -> None:
        pass


def _files(batches: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """One list for each file: all of them in one, unless they are more than a reader wants to hold, or for different
    readers, as records and commands are."""
    some: list[Outgoing] = []
    size = 0
    for batch in sorted(batches, key=lambda b: suffix_for(b.cls)):
        if some and (size + len(batch.body) > _FILE or suffix_for(batch.cls) != suffix_for(some[0].cls)):
            yield some
            some, size = [], 0
        some.append(batch)
        size += len(batch.body)
    if some:
        yield some


class _Claim:
    """A file that this consumer works on, and the numbers of its batches that are not settled yet."""

    def __init__(self, path: Path, batches: int) -> None:
        self.path = path
        self.unsettled = set(range(batches))

    def settle(self, index: int) -> None:
        self.unsettled.discard(index)
        if not self.unsettled:
            # Gone already when this consumer was taken for dead; the file is then delivered again.
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class _Token:
    claim: _Claim
    index: int


class SpoolConsumer:
    """Takes batches out of a spool. Several may share one spool, also from several hosts."""

    def __init__(
        self, url: str, *, name: str, flock: Flock = fcntl.flock, classes: Collection[Class] = RECORDS
    ) -> None:
        self._spool = Spool.at(url)
        self._classes = frozenset(classes)
        self._name = f"{safe_name(name)}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._flock = flock
        self._lock: int | None = None
        self._listed: deque[str] = deque()
        self._buffer: deque[Delivery] = deque()
        self._claims: list[_Claim] = []
        self._unread: dict[Path, int] = {}
        self._paused = False
        self._nap = _FIRST_NAP
        self._looked = self._tidied = float("-inf")
        self._spool.prepare_early()

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        end = time.monotonic() + timeout
        while True:
            if not self._paused:
                with away(self._spool):
                    self._open()
                    self._look_for_dead()
                    found = self._take(limit)
                if found:
                    self._nap = _FIRST_NAP
                    return found
            rest = end - time.monotonic()
            if rest <= 0:
                return []
            time.sleep(min(self._nap, rest))
            self._nap = min(self._nap * 1.5, _LONGEST_NAP)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with away(self._spool):
            for delivery in deliveries:
                token = _token(delivery)
                token.claim.settle(token.index)
        self._claims = [claim for claim in self._claims if claim.unsettled]

    def reject(self, delivery: Delivery, reason: str) -> None:
        token = _token(delivery)
        if token.index not in token.claim.unsettled:
            return
        with away(self._spool):
            bury(self._spool, route=delivery.route, reason=reason, body=delivery.body)
        self.ack([delivery])

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._nap = _FIRST_NAP

    def depth(self) -> int | None:
        """Files that wait; each holds what one `publish` was given."""
        try:
            return sum(1 for _ in self._spool.waiting(self._classes))
        except OSError:
            return None

    def close(self) -> None:
        if self._lock is None:
            return
        self._buffer.clear()
        self._claims.clear()
        with contextlib.suppress(OSError, BadUrl):
            self._give_back(self._folder)
        os.close(self._lock)  # what could not be given back is now found by the next consumer
        self._lock = None

    @property
    def _folder(self) -> Path:
        return self._spool.claims / self._name

    def _open(self) -> None:
        """Make the claim folder: locked before it can be seen, so that nobody takes it for a dead one."""
        if self._lock is not None:
            return
        self._spool.prepare()
        hidden_folder = self._spool.claims / f".{self._name}"
        private_folder(hidden_folder)
        lock = os.open(hidden_folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._locked(lock)
            os.rename(hidden_folder, self._folder)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _locked(self, handle: int) -> bool:
        """Try to lock. Without flock (some Lustre mounts) a lock that nobody touched for an hour counts as free."""
        try:
            self._flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return time.time() - os.fstat(handle).st_mtime > _OLD
            return False

    def _take(self, limit: int) -> list[Delivery]:
        while len(self._buffer) < limit:
            if not self._listed:
                self._listed.extend(self._list())
            if not self._listed:
                break
            path = self._claim(Path(self._listed.popleft()))
            if path is not None:
                self._load(*path)
        return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]

    def _list(self) -> list[str]:
        """Paths of waiting files, oldest first, over all senders."""
        waiting = ((entry.name, entry.path) for entry in self._spool.waiting(self._classes))
        return [path for _, path in heapq.nsmallest(_LISTED, waiting)]

    def _claim(self, path: Path) -> tuple[Path, bool] | None:
        """Claim a file; None when another consumer was faster. The flag says whether it was delivered before."""
        if path.parent == self._folder:  # claimed already, could not be read
            return path, False
        name = path.name if _OURS.fullmatch(path.name) else f"foreign-{uuid.uuid4().hex}"
        target = self._folder / name
        try:
            os.rename(path, target)
        except FileNotFoundError:
            # NFS repeats a rename whose answer got lost, and then reports a failure for its success.
            if not target.exists():
                self._lock_is_ours()
                return None
        return target, path.parent.name == RESCUED

    def _lock_is_ours(self) -> None:
        """Start over with a new claim folder when somebody removed ours."""
        if self._folder.exists() or self._lock is None:
            return
        os.close(self._lock)
        self._lock = None
        self._open()

    def _load(self, path: Path, redelivered: bool) -> None:
        tries = self._unread.pop(path, 0) + 1
        try:
            contents = read(path)
        except FileNotFoundError:  # this consumer was taken for dead
            return
        except OSError as error:
            self._later(path, tries, error)
            return
        claim = _Claim(path, len(contents.batches))
        if contents.problem is not None:
            done = f"; its first {len(contents.batches)} batches were delivered" if contents.batches else ""
            bury_file(self._spool, path, contents.problem + done)
        elif not contents.batches:
            path.unlink()
        self._claims.append(claim)
        for index, batch in enumerate(contents.batches):
            token = _Token(claim=claim, index=index)
            route = f"{batch.cls.value}.{batch.run}"
            self._buffer.append(Delivery(body=batch.body, token=token, route=route, redelivered=redelivered))

    def _later(self, path: Path, tries: int, error: OSError) -> None:
        """Try again to read a file in a while: a stale handle heals. Put it aside when it does not."""
        if tries >= _READ_TRIES:
            bury_file(self._spool, path, f"cannot be read: {error.strerror or error}")
        else:
            self._unread[path] = tries

    def _look_for_dead(self) -> None:
        """Now and then: give back the claims of consumers that died, and try again what could not be read."""
        now = time.monotonic()
        if now - self._looked < _LOOK_FOR_DEAD:
            return
        self._looked = now
        assert self._lock is not None  # noqa: S101 - opened by receive
        os.utime(self._lock)  # the sign of life where there is no flock
        self._listed.extendleft(str(path) for path in self._unread)
        with os.scandir(self._spool.claims) as listing:
            folders = [Path(entry.path) for entry in listing if not entry.name.startswith(".")]
        for folder in folders:
            if folder.name != self._name:
                self._rescue(folder)
        if now - self._tidied > _TIDY:
            self._tidied = now
            tidy(self._spool)

    def _rescue(self, folder: Path) -> None:
        """Take back what a consumer had claimed, unless it lives."""
        try:
            handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:  # removed just now, or no claim folder at all
            return
        try:
            if self._locked(handle):
                self._give_back(folder)
        finally:
            os.close(handle)

    def _give_back(self, folder: Path) -> None:
        """Let the files of a claim folder wait again, and remove it. The caller holds its lock."""
        private_folder(self._spool.new / RESCUED)
        with contextlib.suppress(FileNotFoundError):  # somebody else was faster
            for name in os.listdir(folder):
                if name != "lock":
                    os.rename(folder / name, self._spool.new / RESCUED / name)
            os.unlink(folder / "lock")
        # Never a file with it: should one have come meanwhile, the folder stays and is looked at again.
        with contextlib.suppress(OSError):
            folder.rmdir()


def _token(delivery: Delivery) -> _Token:
    if not isinstance(delivery.token, _Token):
        raise TypeError("this delivery came from another bus")
    return delivery.token
