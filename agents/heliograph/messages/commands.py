"""Commands: what a run asks of a service, as messages of the class `commands`. All that there is: watch these files.

In: what a run wants watched. Out: MessagePack bytes, and back. Commands are no records: the writer never sees them, and
`decode_records` puts one aside that stands in a batch of records. Who takes one decides whether to obey.
"""

from __future__ import annotations

import msgspec

from heliograph.messages.base import SCHEMA_VERSION, BadMessage, Record


class WatchStart(Record, tag="watch.start", frozen=True, kw_only=True, array_like=True):
    """Watch files for this run. `watch` is the watch's id within the run, `root` the folder that is scanned, and
    patterns, file types, path and callbacks mean what they mean to `FileMonitor`; a callback is
    'package.module:function', and '' calls nothing. `interval`, `settle` and `timeout` are in seconds, 0 leaves them to
    the service; (`origin`, `number`) is the task that the watch belongs to, if any."""

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
    host: str = ""


class WatchStop(Record, tag="watch.stop", frozen=True, kw_only=True, array_like=True):
    """End a watch of this run after one last scan. May come before its `watch.start`, which then starts nothing."""

    watch: str
    reason: str = ""


Command = WatchStart | WatchStop
COMMANDS: dict[str, type[Record]] = {str(kind.__struct_config__.tag): kind for kind in Command.__args__}
_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)


def decode_command(raw: bytes | memoryview | msgspec.Raw) -> Command:
    """Decode one command. Raises BadMessage that says what is wrong with it."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise BadMessage(f"not a command of schema version {SCHEMA_VERSION}: {error}") from error
