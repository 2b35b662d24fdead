"""A real file-watch service as a process of its own, what asks it for watches, and a store that takes what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from heliograph.bus import Outgoing, open_consumer, open_publisher
from heliograph.messages import (
    CLASS_OF,
    SCHEMA_VERSION,
    Batch,
    Record,
    RunEnded,
    RunStarted,
    Source,
    WatchStart,
    WatchStop,
    decode_batch,
    encode,
)
from heliograph_store.migrate import migrate
from heliograph_store.read.files import Callback, FoundFile, Watch, callback_page, file_page, watch_list
from heliograph_store.read.runs import find_run, list_runs
from heliograph_store.store import connect
from heliograph_store.write import Writer

T = TypeVar("T")
PATIENCE = 120.0


def now() -> int:
    return time.time_ns() // 1000


class Site:
    """A bus and a store, with a writer's work done whenever something is looked at."""

    def __init__(self, bus: str, database: str) -> None:
        self.bus, self.database = bus, database
        migrate(database)
        self._store = connect(database)
        self._writer = Writer(self._store)
        self._consumer = open_consumer(bus, name="writer")
        self._consumer.receive(1, 0.0)  # declares what there is to declare
        self._publisher = open_publisher(bus, name="agent")
        self._sent = 0

    def close(self) -> None:
        self._consumer.close()
        self._publisher.close()
        self._store.close()

    def send(self, run: str, *records: Record) -> None:
        """As an agent ships what a run recorded: one batch for each class."""
        for cls in sorted({CLASS_OF[type(record)] for record in records}):
            some = [record for record in records if CLASS_OF[type(record)] is cls]
            self._sent += len(some)
            batch = Batch(
                version=SCHEMA_VERSION,
                run=run,
                cls=cls.value,
                agent="a",
                host="h",
                boot="b",
                sources=[Source("j", [self._sent - i for i in range(len(some))])],
                records=[msgspec.Raw(encode(record)) for record in some],
            )
            self._publisher.publish([Outgoing(run=run, cls=cls, body=encode(batch))])

    def begin(self, run: str) -> None:
        self.send(run, RunStarted(at=now(), name=run, lease=3_600_000_000))

    def end(self, run: str) -> None:
        self.send(run, RunEnded(at=now()))

    def ask(self, run: str, root: Path | str, watch: str = "w", **asked: object) -> None:
        known = {"interval": 0.1, "settle": 0.1, "patterns": [r"\.dat$"], **asked}
        command = msgspec.convert({**known, "at": now(), "watch": watch, "root": str(root)}, _Asked)
        self.send(run, WatchStart(**msgspec.structs.asdict(command)))

    def withdraw(self, run: str, watch: str = "w") -> None:
        self.send(run, WatchStop(at=now(), watch=watch, reason="enough"))

    def write(self) -> None:
        """What a writer would do now."""
        while deliveries := self._consumer.receive(200, 0.05):
            self._writer.write([decode_batch(d.body) for d in deliveries])
            self._consumer.ack(deliveries)

    def files(self, run: str) -> list[FoundFile]:
        self.write()
        found = find_run(self._store, run)
        return [] if found is None else file_page(self._store, found.id)

    def callbacks(self, run: str) -> list[Callback]:
        self.write()
        found = find_run(self._store, run)
        return [] if found is None else callback_page(self._store, found.id)

    def watches(self, run: str) -> list[Watch]:
        self.write()
        found = find_run(self._store, run)
        return [] if found is None else watch_list(self._store, found.id)

    def runs(self, name: str) -> list[str]:
        """Ids of the runs of this name."""
        self.write()
        return [one.run for one in list_runs(self._store) if one.name == name]

    def ended(self, run: str) -> bool:
        self.write()
        found = find_run(self._store, run)
        return found is not None and found.ended is not None

    def closed(self, run: str) -> list[str]:
        """Reasons of the run's watches that have ended."""
        return [watch.reason or "" for watch in self.watches(run) if watch.closed is not None]


class _Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    at: int
    watch: str
    root: str
    patterns: list[str] = []
    filetypes: list[str] = []
    path: str = ""
    callbacks: list[str] = []
    email: str = ""
    webhook: str = ""
    interval: float = 0.0
    settle: float = 0.0
    timeout: float = 0.0
    on_change: bool = False
    origin: str | None = None
    number: int | None = None


class Filewatch:
    """`heliograph filewatch` with this watch file."""

    def __init__(self, folder: Path, site: Site, watch_file: str, **variables: str) -> None:
        self.folder, self._site = folder, site
        self.log = folder / "filewatch.log"
        self.file = folder / "watches.toml"
        self.file.write_text(watch_file)
        self._variables = variables
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
        environment |= {
            "HELIOGRAPH_FILEWATCH_STATE": str(self.folder / "state"),
            "HELIOGRAPH_BUS": self._site.bus,
            "HELIOGRAPH_DATABASE": self._site.database,
            "PYTHONPATH": with_modules_of(self.folder),
            **self._variables,
        }
        command = [sys.executable, "-m", "heliograph_server", "filewatch", "--health-port", "0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--watch-file", str(self.file)], env=environment, stdout=log, stderr=log
            )

    def wait(self, what: Callable[[], T], seconds: float = PATIENCE) -> T:
        """Until this is something."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        """As a crash: SIGKILL, and nobody tells the watches' processes."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As an operator stops it."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def url(self) -> str:
        found = self.wait(lambda: re.findall(r"metrics and health on (\S+)", self.log.read_text()))
        return str(found[-1])

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.url()}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf"^heliograph_filewatch_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def ready(self) -> dict[str, bool]:
        try:
            with urllib.request.urlopen(f"{self.url()}/readyz", timeout=10) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read()))

    def hosts(self) -> list[int]:
        """Process ids of the watches of this service's state folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"heliograph_filewatch.host" in line and str(self.folder).encode() in line:
                    found.append(int(entry.name))
        return found


def with_modules_of(folder: Path) -> str:
    """A PYTHONPATH with one folder more."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def write_files(folder: Path, names: Iterable[str], text: str = "x") -> list[str]:
    """Files, whole at once, last changed long enough ago."""
    paths = []
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        passing = path.with_name(f".{path.name}.writing")
        passing.write_text(text)
        passing.replace(path)
        paths.append(str(path))
    return paths
