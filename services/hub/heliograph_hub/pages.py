"""Two pages for people, without script and without anything from another server: the runs, and what one can ask.

In: the newest runs and the app's own OpenAPI schema. Out: HTML in which every text is escaped. The dashboard shows
more; these work on an air-gapped machine with nothing but the hub.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from heliograph_hub.asking import Reader
from heliograph_hub.markup import Markup, page, table, tag
from heliograph_hub.parts import Parts
from heliograph_hub.rest import named
from heliograph_hub.timestamps import rfc3339
from heliograph_store.errors import StoreError
from heliograph_store.read.liveness import liveness
from heliograph_store.read.runs import RunSummary, list_runs, run_summary

router = APIRouter(include_in_schema=False)

SHOWN = 50
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; }
th { border-bottom: 2px solid #ccd3dc; } td { border-bottom: 1px solid #e6eaef; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; } a { color: #0b5cad; }
.running { color: #0b5cad; } .completed { color: #18794e; }
.failed, .lost { color: #b42318; } .unknown { color: #7a5b00; }
@media (prefers-color-scheme: dark) {
  body { background: #14181f; color: #d8dee6; } a, .running { color: #7cb7f2; } th { border-color: #3a4350; }
  td { border-color: #262d37; } .completed { color: #5fc992; } .failed, .lost { color: #f08a80; }
  .unknown { color: #d9b44a; }
}
"""
PLACES = (
    ("/docs", "every request of this API"),
    ("/openapi.json", "the same for programs"),
    ("/metrics", "metrics for Prometheus"),
    ("/readyz", "whether the hub can work"),
)


@router.get("/", response_class=HTMLResponse)
def index(parts: Reader) -> HTMLResponse:
    places = [tag("li", tag("a", path, href=path), f" – {what}") for path, what in PLACES]
    body = (tag("h1", "Heliograph"), _runs(parts), tag("h2", "Where to look"), tag("ul", *places))
    return HTMLResponse(page("Heliograph", *body))


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> HTMLResponse:
    schema = request.app.openapi()
    rows = [
        (tag("code", method.upper()), tag("code", path), about.get("summary", ""), _parameters(about))
        for path, method, about in _requests(schema)
    ]
    notes = [tag("p", text.replace("\n", " ")) for text in schema["info"]["description"].split("\n\n")]
    listing = table(("Method", "Path", "What it is", "Parameters"), rows)
    return HTMLResponse(page("Heliograph API", tag("h1", "Heliograph API"), *notes, listing))


@router.get("/style.css")
def style() -> Response:
    return Response(STYLE, media_type="text/css", headers={"cache-control": "max-age=3600"})


def _runs(parts: Parts) -> Markup:
    now, lag = time.time_ns() // 1000, parts.lag.micros()
    try:
        store = parts.store.get()
        rows = [_row(run_summary(store, run), now, lag) for run in list_runs(store, limit=SHOWN)]
    except StoreError:
        return tag("p", "The database cannot be read now; ", tag("a", "/readyz", href="/readyz"), " says why.")
    if not rows:
        return tag("p", "No run has been recorded yet.")
    return table(("Run", "Name", "State", "Started (UTC)", "Owner", "Tasks"), rows)


def _row(summary: RunSummary, now: int, lag: int) -> tuple[str, ...]:
    run = summary.run
    state = liveness(run, now, lag)
    return (
        tag("a", run.run, href=f"/v1/runs/{quote(run.run, safe='')}"),
        run.name or "",
        tag("span", state, class_=state),
        (rfc3339(run.started) or "")[:19].replace("T", " "),
        run.owner or "",
        ", ".join(f"{count} {name}" for name, count in sorted(named(summary.states).items())),
    )


def _requests(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            yield path, method, about


def _parameters(about: dict[str, Any]) -> Markup | str:
    names = [tag("code", parameter["name"]) for parameter in about.get("parameters", []) if parameter["in"] == "query"]
    return Markup(", ".join(names)) if names else ""
