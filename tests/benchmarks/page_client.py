"""A browser without a screen: visits pages of the real dashboard app and sends its callbacks, in this process.

In: a database's URL. Out: answers, with what they took and weighed. It keeps what components say, as a browser does: a
callback is sent with the properties of the components on the page, unless it is told others.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from httpx import ASGITransport, AsyncClient, Response

from heliograph_dashboard.app import create_app
from heliograph_dashboard.config import DashboardConfig

BASE: Final = "http://127.0.0.1:8080"
VISIT: Final = "page.children"
Props = dict[str, Any]
"""By 'id.property'."""


@dataclass(frozen=True, kw_only=True)
class Callback:
    """One that the server answers. `name` is its first output that it alone has, or what starts it."""

    name: str
    output: str
    inputs: tuple[str, ...]
    state: tuple[str, ...]

    def stands_on(self, props: Props) -> bool:
        """Whether a page has the components that it takes from and gives to."""
        there = {name.rpartition(".")[0] for name in props}
        changes = {_output(one)["id"] for one in self.output.strip(".").split("...")}
        return changes <= there and all(one in props for one in self.inputs + self.state)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`wall` and `cpu` in seconds (of this process, all threads), `sent` as it goes over the wire, `size` unpacked."""

    status: int
    wall: float
    cpu: float
    sent: int
    size: int
    encoding: str
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Client:
    """One dashboard and its one viewer."""

    def __init__(self, url: str) -> None:
        self._app = create_app(DashboardConfig(database_url=url))
        self._runner = asyncio.Runner()
        self._http = AsyncClient(transport=ASGITransport(app=self._app), base_url=BASE)
        self._known: dict[tuple[str, str], Props] = {}
        self.callbacks = {callback.name: callback for callback in self._callbacks()}
        shell = self._get("/_dash-layout").json()
        self._shell: Props = dict(_props(shell)) | {"theme.data": "light", "zone.data": "Europe/Berlin"}

    def visit(self, pathname: str, search: str = "") -> tuple[Props, Answer]:
        """A page as it is after its first paint."""
        route = {"pathname": pathname, "search": search, "zone": "Europe/Berlin"}
        answer = self.call(VISIT, self._shell, {"route.data": route})
        props = self._shell | {"route.data": route} | dict(_answered(answer.values))
        looking = props["looking.data"]
        return props | {"tick.data": {"run": looking["run"], "version": looking.get("version", 0)}}, answer

    def props(self, pathname: str, search: str = "") -> Props:
        """As `visit`, of pages that were visited before as they were then."""
        place = (pathname, search)
        if place not in self._known:
            self._known[place] = self.visit(pathname, search)[0]
        return self._known[place]

    def call(
        self, name: str, props: Props, given: Mapping[str, Any] | None = None, changed: tuple[str, ...] = ()
    ) -> Answer:
        """Send a callback. Raises KeyError when the page has a component not that it needs."""
        callback, all_ = self.callbacks[name], props | (given or {})

        def of(needed: tuple[str, ...]) -> list[dict[str, Any]]:
            parts = (one.rpartition(".") for one in needed)
            return [{"id": id_, "property": prop, "value": all_[f"{id_}.{prop}"]} for id_, _, prop in parts]

        outputs = [_output(part) for part in callback.output.strip(".").split("...")]
        body = {
            "output": callback.output,
            "outputs": outputs if callback.output.startswith("..") else outputs[0],
            "inputs": of(callback.inputs),
            "changedPropIds": list(changed or [one for one in callback.inputs if one in (given or {})]),
            "state": of(callback.state),
        }
        raw = json.dumps(body).encode()
        began, cpu = time.perf_counter(), time.process_time()
        response = self._runner.run(self._post(raw))
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        return Answer(
            status=response.status_code,
            wall=took,
            cpu=cpu,
            sent=int(response.headers.get("content-length", 0)),
            size=len(response.content),
            encoding=response.headers.get("content-encoding", "plain"),
            values=response.json()["response"] if response.status_code == 200 else {},
        )

    def forget(self) -> None:
        """Empty the dashboard's own caches; what the database and the system keep stays warm."""
        self._app.state.data.forget()
        self._app.state.answers.forget()

    def close(self) -> None:
        self._runner.run(self._http.aclose())
        self._runner.close()

    def _callbacks(self) -> Iterator[Callback]:
        for found in self._get("/_dash-dependencies").json():
            if found.get("clientside_function"):
                continue
            inputs = tuple(f"{one['id']}.{one['property']}" for one in found["inputs"])
            outputs = found["output"].strip(".").split("...")
            shared = f"{inputs[0]} > {outputs[0].partition('@')[0]}"
            yield Callback(
                name=next((one for one in outputs if "@" not in one), shared),
                output=found["output"],
                inputs=inputs,
                state=tuple(f"{one['id']}.{one['property']}" for one in found["state"]),
            )

    def _get(self, path: str) -> Response:
        return self._runner.run(self._http.get(path))

    async def _post(self, raw: bytes) -> Response:
        headers = {"content-type": "application/json", "origin": BASE, "accept-encoding": "gzip"}
        return await self._http.post("/_dash-update-component", content=raw, headers=headers)


def _output(text: str) -> dict[str, str]:
    id_, _, prop = text.rpartition(".")
    return {"id": id_, "property": prop}


def _answered(values: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for id_, props in values.items():
        for prop, value in props.items():
            yield f"{id_}.{prop}", value
            yield from _props(value)


def _props(value: Any) -> Iterator[tuple[str, Any]]:
    """The properties of all components in a layout; those that a callback may name and nobody has set are None."""
    if isinstance(value, list):
        for one in value:
            yield from _props(one)
    elif isinstance(value, dict) and "props" in value:
        given = value["props"]
        if "id" in given:
            for prop in ("data", "value", "n_clicks", *given):
                yield f"{given['id']}.{prop}", given.get(prop)
        for one in given.values():
            yield from _props(one)
