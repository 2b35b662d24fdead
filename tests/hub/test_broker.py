"""The hub in front of RabbitMQ: what it confirmed survives the broker, and while that is away nothing is promised."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import httpx
import pytest

from heliograph.bus import Outgoing, open_publisher
from heliograph.bus.amqp import declare
from heliograph.messages import Class
from heliograph_hub.config import HubConfig
from tests.fixtures.broker import Broker
from tests.hub.conftest import batch, bearer, drain, server
from tests.hub.recorded import SECOND, Recorder, now, started


@pytest.fixture
def brokered(config: HubConfig, broker: Broker) -> HubConfig:
    url = broker.new_url()
    declare(url)
    return replace(config, bus_url=url)


def connected(client: httpx.Client) -> dict[str, str]:
    return bearer(client.post("/v1/connect", json={"run": "r-1"}).json()["token"])


def send(client: httpx.Client, headers: dict[str, str], number: int) -> int:
    answer = client.post("/v1/intake/control/r-1", content=batch("r-1", number), headers=headers)
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) > 0
    return answer.status_code


def test_what_is_confirmed_outlives_a_broker_that_is_killed(brokered: HubConfig, broker: Broker) -> None:
    """Senders go on while the broker is killed and comes back; every batch that was answered with 204 is there."""
    confirmed: set[int] = set()
    refused: list[int] = []
    with server(brokered) as client:
        headers = connected(client)
        stop = threading.Event()

        def sender(first: int) -> None:
            for number in range(first, first + 100_000):
                if stop.is_set():
                    return
                status = send(client, headers, number)
                assert status in {204, 503}
                (confirmed.add if status == 204 else refused.append)(number)
                time.sleep(0.005 if status == 204 else 0.1)

        threads = [threading.Thread(target=sender, args=(n * 100_000,)) for n in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        before = len(confirmed)
        broker.kill()
        ends = time.monotonic() + 30
        while not refused:
            assert time.monotonic() < ends
            time.sleep(0.05)
        assert not client.get("/readyz").json()["bus"]["ok"]
        assert client.get("/healthz").status_code == 200
        broker.start()
        ends = time.monotonic() + 60
        after = len(confirmed)
        while len(confirmed) < after + 20:
            assert time.monotonic() < ends, "the hub did not find the broker again"
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        assert client.get("/readyz").status_code == 200
    assert before > 20
    stored = set(drain(brokered.bus_url))
    assert {batch("r-1", number) for number in confirmed} <= stored


def test_a_broker_that_goes_while_nobody_sends_is_noticed(brokered: HubConfig, broker: Broker) -> None:
    """Ready again means that the broker answers; a quorum queue can need longer to find its leader after a crash."""
    with server(brokered) as client:
        headers = connected(client)
        assert send(client, headers, 1) == 204
        assert client.get("/readyz").json()["bus"] == {"ok": True, "reason": ""}
        broker.kill()
        try:
            ends = time.monotonic() + 10
            while client.get("/readyz").json()["bus"]["ok"]:
                assert time.monotonic() < ends
        finally:
            broker.start()
        ends = time.monotonic() + 30
        while not client.get("/readyz").json()["ready"]:
            assert time.monotonic() < ends
            time.sleep(0.2)


def test_full_sample_queue_is_429_and_states_still_pass(brokered: HubConfig, broker: Broker) -> None:
    """Agents thin out what the bounded queue refuses."""
    vhost = brokered.bus_url.rpartition("/")[2]
    limits = {"pattern": "samples", "definition": {"max-length": 1, "overflow": "reject-publish"}, "apply-to": "queues"}
    broker.admin("PUT", f"policies/{vhost}/tight", limits)
    with server(brokered) as client:
        headers = connected(client)

        def post(cls: Class, number: int) -> int:
            body = batch("r-1", number, cls=cls)
            return client.post(f"/v1/intake/{cls.value}/r-1", content=body, headers=headers).status_code

        ends = time.monotonic() + 20
        while post(Class.SAMPLES, 1) != 429:
            assert time.monotonic() < ends
        assert post(Class.STATES, 2) == 204
        assert post(Class.CONTROL, 3) == 204


def test_a_hub_whose_broker_refuses_it_says_so_without_the_password(brokered: HubConfig) -> None:
    wrong = brokered.bus_url.replace("guest:guest", "guest:not-the-password")
    with server(replace(brokered, bus_url=wrong)) as client:
        assert send(client, connected(client), 1) == 503
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "not-the-password" not in ready.text


def test_what_waits_in_the_broker_makes_a_silent_run_unknown(brokered: HubConfig) -> None:
    recorder = Recorder(brokered)
    recorder.write("silent", started(now() - 3600 * SECOND))
    recorder.close()
    with server(brokered) as client:
        assert client.get("/v1/runs/silent").json()["liveness"] == "lost"
        publisher = open_publisher(brokered.bus_url, name="p")
        publisher.publish([Outgoing(run="silent", cls=Class.CONTROL, body=batch("silent"))])
        publisher.close()
        ends = time.monotonic() + 15
        while client.get("/v1/runs/silent").json()["liveness"] != "unknown":
            assert time.monotonic() < ends
            time.sleep(0.2)
        assert drain(brokered.bus_url) == [batch("silent")], "looking took nothing away"
