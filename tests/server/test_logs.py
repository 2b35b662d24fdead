"""Log lines: one a record, text or JSON, and the run that a line is about stands apart from its words."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import closing

import pytest
from fastapi.testclient import TestClient

from heliograph.bus import Delivery
from heliograph_hub.app import create_app
from heliograph_hub.config import HubConfig
from heliograph_server.logs import Json, Text
from heliograph_writer.config import WriterConfig
from heliograph_writer.loop import WriterLoop
from heliograph_writer.metrics import WriterMetrics
from heliograph_writer.stop import Stop
from tests.writer.doubles import MemoryBus, MemoryConsumer, MemoryStore


def record(message: str, run: object = None) -> logging.LogRecord:
    made = logging.LogRecord("heliograph.writer", logging.WARNING, __file__, 1, message, None, None)
    if run is not None:
        made.run = run
    return made


def test_json_has_a_field_for_everything() -> None:
    told = json.loads(Json().format(record('he said "no"\nand left', run="run-1")))
    assert told.pop("time").endswith("+00:00")
    assert isinstance(told.pop("pid"), int)
    assert told == {
        "level": "warning",
        "logger": "heliograph.writer",
        "message": 'he said "no"\nand left',
        "run": "run-1",
    }
    assert "run" not in json.loads(Json().format(record("of no run")))


def test_an_exception_stays_in_its_line() -> None:
    failed = record("broken")
    try:
        raise ValueError("why")
    except ValueError:
        failed.exc_info = sys.exc_info()
    (line,) = Json().format(failed).splitlines()
    assert "ValueError: why" in json.loads(line)["exception"]


@pytest.mark.parametrize("form", [Text(), Json()], ids=["text", "json"])
def test_the_name_of_a_run_cannot_pretend_to_be_a_line(form: logging.Formatter) -> None:
    line = form.format(record("told", run="evil\n2026-01-01T00:00:00 info all is well" + "x" * 1000))
    assert len(line.splitlines()) == 1
    assert len(line) < 500


def test_what_a_record_tells_cannot_pretend_to_be_a_line() -> None:
    lines = Text().format(record("no \x1b[31mred\n2026-01-01 info all is well \u202e", run="r")).splitlines()
    assert lines[0].endswith("no \\x1b[31mred")
    assert lines[1:] == ["    2026-01-01 info all is well \\u202e"]


def test_the_writer_says_of_which_run_a_dead_letter_is(caplog: pytest.LogCaptureFixture) -> None:
    bus, metrics = MemoryBus([b"\xc1 nonsense"]), WriterMetrics()

    class OfARun(MemoryConsumer):
        def receive(self, limit: int, timeout: float) -> list[Delivery]:
            if bus.dead:
                stop.ask()
            return [
                Delivery(body=d.body, token=d.token, route="states.run.with.dots")
                for d in super().receive(limit, timeout)
            ]

    config = WriterConfig(linger=0.0, idle_wait=0.01)
    with closing(Stop()) as stop, caplog.at_level(logging.INFO, "heliograph"):
        WriterLoop(
            config=config, open_consumer=lambda: OfARun(bus), writer=MemoryStore(), metrics=metrics, stop=stop
        ).run()
    assert said(caplog, "dead letters") == ["run.with.dots"]


def test_the_hub_says_which_run_it_let_in_and_whose_batch_it_refused(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path_factory.mktemp("hub")
    config = HubConfig(bus_url=f"spool:{folder}/spool", database_url=f"sqlite:///{folder}/h.db")
    with caplog.at_level(logging.INFO, "heliograph"), TestClient(create_app(config), "http://127.0.0.1") as client:
        token = client.post("/v1/connect", json={"run": "run-1"}).json()["token"]
        headers = {"authorization": f"Bearer {token}", "content-type": "application/vnd.heliograph.batch+msgpack"}
        assert client.post("/v1/intake/states/run-1", content=b"no batch", headers=headers).status_code in {400, 415}
    assert said(caplog, "where to send") == ["run-1"]
    assert said(caplog, "refused") == ["run-1"]
    assert token not in caplog.text


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[object]:
    """The runs that lines with these words are about."""
    return [getattr(line, "run", None) for line in caplog.records if words in line.getMessage()]
