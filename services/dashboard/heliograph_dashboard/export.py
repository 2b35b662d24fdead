"""Whole tables as files: CSV, JSON, Parquet, streamed page by page with the filters and order of the view.

In: `/export/<table>.<format>?run=…&<filters>&sort=…`. Out: a stream; no more than one page is held, and no read is
longer than one page of the table itself. Times are UTC, durations microseconds, sizes bytes.
"""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from heliograph_dashboard.components.table import REGISTRY, Asked, Column, Table
from heliograph_dashboard.data import Data
from heliograph_store.errors import StoreError
from heliograph_store.read.runs import Run, find_run

PAGE: Final = 1000
AT_ONCE: Final = 4
"""Exports under way at a time: each takes as much of a processor as it is given, and pages come first."""
AGAIN: Final = 5
"""Seconds after which another try is worth it."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula."""
Rows = Iterator[Sequence[Mapping[str, Any]]]


class Export:
    """Answers requests for tables; `data` reads past the cache, which pages of an export would only fill."""

    def __init__(self, data: Data, *, at_once: int = AT_ONCE) -> None:
        self._data = data.uncached()
        self._free = threading.BoundedSemaphore(at_once)

    def serve(self, request: Request) -> Response:
        if not self._free.acquire(blocking=False):
            busy = _sorry("other exports are still under way; try again in a few seconds", 503)
            busy.headers["retry-after"] = str(AGAIN)
            return busy
        under_way = _UnderWay(self._free.release)
        try:
            answer = self._answer(request, under_way)
        except BaseException:
            under_way.end()
            raise
        if not isinstance(answer, StreamingResponse):
            under_way.end()
        return answer

    def _answer(self, request: Request, under_way: _UnderWay) -> Response:
        name, _, form = request.path_params["file"].rpartition(".")
        table, write = REGISTRY.get(name), WRITERS.get(form)
        if table is None or write is None:
            return _sorry("there is no such table or format; formats are csv, json and parquet", 404)
        query = {key: value for key, value in request.query_params.items() if value}
        try:
            run = self._data.read(find_run, query["run"]) if "run" in query else None
            if "run" in query and run is None:
                return _sorry("there is no such run", 404)
            pages = _pages(table, self._data, run, query)
            first = next(pages)
        except StoreError:
            return _sorry("the database cannot be read now", 503)
        columns = [column for column in table.columns if column.field]
        try:
            under_way.chunks = write(columns, _after(first, pages))
        except ImportError:
            return _sorry("Parquet needs pyarrow: pip install 'heliograph-server[parquet]'", 501)
        file = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in (name, query.get("run")) if part))[:120]
        headers = {"content-disposition": f'attachment; filename="{file}.{form}"', "cache-control": "no-store"}
        return StreamingResponse(under_way, media_type=KINDS[form], headers=headers)


class _UnderWay(Iterator[bytes]):
    """What is sent, and whoever must know when that is over: also when the browser goes away before it began."""

    def __init__(self, over: Callable[[], None]) -> None:
        self.chunks: Iterator[bytes] = iter(())
        self._over: Callable[[], None] | None = over

    def __next__(self) -> bytes:
        try:
            return next(self.chunks)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()

    def __del__(self) -> None:
        self.end()


def _pages(table: Table, data: Data, run: Run | None, query: Mapping[str, str]) -> Rows:
    """All rows of a table, a page at a time."""
    filters = {f.name for f in table.filters} | set(table.hidden)
    sort = query.get("sort", table.sort)
    if sort.removeprefix("-") not in {column.field for column in table.columns if column.sort}:
        sort = table.sort
    after: Any = None
    while True:
        page = table.fetch(
            data,
            run,
            Asked(
                filters={key: value for key, value in query.items() if key in filters},
                params={key: value for key, value in query.items() if key not in filters | {"run", "sort"}},
                sort=sort.removeprefix("-"),
                descending=sort.startswith("-"),
                after=tuple(after) if isinstance(after, list) else after,
                limit=PAGE,
            ),
        )
        yield page.rows
        after = page.next
        if after is None:
            return


def _after(first: Sequence[Mapping[str, Any]], pages: Rows) -> Rows:
    yield first
    yield from pages


def _csv(columns: Sequence[Column], pages: Rows) -> Iterator[bytes]:
    def lines(rows: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        return text.getvalue().encode("utf-8", "replace")

    yield lines([[column.field for column in columns]])
    for rows in pages:
        yield lines([[_cell(column, row.get(column.field)) for column in columns] for row in rows])


def _cell(column: Column, value: Any) -> Any:
    """A value as it may stand in CSV. Text that a spreadsheet would run as a formula gets an apostrophe."""
    plain = _plain(column, value)
    if plain is None:
        return ""
    if isinstance(plain, dict | list):
        return json.dumps(plain, ensure_ascii=False)
    if isinstance(plain, str) and plain.startswith(FORMULA):
        return "'" + plain
    return plain


def _json(columns: Sequence[Column], pages: Rows) -> Iterator[bytes]:
    before = "[\n"
    for rows in pages:
        for row in rows:
            values = {column.field: _plain(column, row.get(column.field)) for column in columns}
            yield (before + json.dumps(values, ensure_ascii=False, default=str)).encode("utf-8", "replace")
            before = ",\n"
    yield b"[]\n" if before == "[\n" else b"\n]\n"


def _plain(column: Column, value: Any) -> Any:
    if value is None or value == "":
        return None
    if column.kind == "time" and isinstance(value, int):
        return _utc(value)
    return dict(value) if isinstance(value, Mapping) else value


def _utc(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1e6, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(at)


def _parquet(columns: Sequence[Column], pages: Rows) -> Iterator[bytes]:
    """Raises ImportError at once where pyarrow is not installed."""
    import pyarrow

    return _parquet_chunks(pyarrow, columns, pages)


def _parquet_chunks(pyarrow: Any, columns: Sequence[Column], pages: Rows) -> Iterator[bytes]:
    from pyarrow import parquet

    sink = _Sink()
    writer, schema = None, None
    for rows in pages:
        if schema is None or writer is None:
            schema = pyarrow.schema([(column.field, _type(pyarrow, column, rows)) for column in columns])
            writer = parquet.ParquetWriter(sink, schema)
        arrays = [
            pyarrow.array([_typed(schema.field(i).type, row.get(column.field)) for row in rows], schema.field(i).type)
            for i, column in enumerate(columns)
        ]
        writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
        yield sink.take()
    if writer is not None:
        writer.close()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file that is read while it is written: what was taken is forgotten, only the position goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _type(pyarrow: Any, column: Column, rows: Sequence[Mapping[str, Any]]) -> Any:
    """A column's type: by what it is, and where that says nothing, by the values of the first page."""
    if column.kind == "time":
        return pyarrow.timestamp("us", tz="UTC")
    if column.kind in {"duration", "bytes"}:
        return pyarrow.int64()
    if column.kind == "percent":
        return pyarrow.float64()
    if column.kind == "flag":
        return pyarrow.bool_()
    values = [value for row in rows if (value := row.get(column.field)) is not None]
    if column.kind == "number":
        whole = all(isinstance(value, int) for value in values)
        return pyarrow.int64() if whole else pyarrow.float64()
    return pyarrow.string()


def _typed(type_: Any, value: Any) -> Any:
    if value is None:
        return None
    name = str(type_)
    if name == "int64" or name.startswith("timestamp"):
        return round(value)
    if name == "double":
        return float(value)
    if name == "bool":
        return bool(value)
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value).encode("utf-8", "replace").decode()


def _sorry(text: str, status: int) -> Response:
    return JSONResponse({"error": text}, status_code=status)


WRITERS: Final[Mapping[str, Callable[[Sequence[Column], Rows], Iterator[bytes]]]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}
KINDS: Final = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
