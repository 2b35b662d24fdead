"""Log lines of the server's roles: text for people, JSON for collectors.

In: log records, with the run as `extra={"run": …}` where it is known. Out: one line each on stderr.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LONGEST = 200


class Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        run = _run(record)
        head = f"{_time(record)} {record.levelname.lower():7} {record.name}"
        line = f"{head} {f'[run {run}] ' if run else ''}{record.getMessage()}"
        return _plain(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if run := _run(record):
            fields["run"] = run
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def setup(*, form: str = "text", level: str = "info") -> None:
    """Send all log lines of this process to stderr. Libraries speak from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The carriers tell what pika found in one line of their own; pika takes ten for a refused connection.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    for noisy in ("uvicorn.access", "alembic", "sqlalchemy", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _run(record: logging.LogRecord) -> str | None:
    """Whoever sends records chooses a run's name: it must not look like a line of its own."""
    run = str(getattr(record, "run", "") or "")[:LONGEST]
    return (run if run.isprintable() else ascii(run)) or None


def _plain(text: str) -> str:
    """What a record told must neither begin a line that looks like ours, nor do anything to a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\n    " if c == "\n" else ascii(c)[1:-1] for c in text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
