"""What everybody should know before believing a page: the database is away, the writer is behind, records are missing.

In: the state of the pipeline and of a run. Out: one line each, the worst first; nothing when all is well.
"""

from __future__ import annotations

from typing import Final, Literal

from dash import html
from dash.development.base_component import Component

from heliograph_dashboard.components.times import duration, when
from heliograph_dashboard.pipeline import Flow
from heliograph_store.read.liveness import Liveness
from heliograph_store.read.pipeline import Losses
from heliograph_store.read.runs import Run

Level = Literal["bad", "warning", "note"]
BEHIND: Final = 10_000_000
"""Microseconds of lag from which on it is told; a healthy pipeline takes one or two seconds."""


def line(level: Level, *parts: Component | str) -> Component:
    inner = [html.Span(className="hg-banner-mark"), html.Span(list(parts))]
    return html.Div(inner, className=f"hg-banner hg-{level}", role="alert" if level == "bad" else "status")


def away() -> Component:
    return line("bad", "The database cannot be read now. What is shown may be old; it goes on by itself.")


def of_flow(flow: Flow) -> list[Component]:
    """The way from the agents into the store."""
    if flow.bus == "away":
        text = "The broker does not answer: what happens now is shown later. Agents keep it until then."
        return [line("warning", text)]
    if flow.waiting and flow.lag > BEHIND:
        return [line("warning", f"The writer is {duration(flow.lag)} behind: {flow.waiting:,} batches wait.")]
    return []


def of_run(run: Run, state: Liveness, losses: Losses) -> list[Component]:
    """One run: whether its process is gone without a word, and what of it is missing."""
    lines = []
    if state == "lost":
        text = "This run is lost: its process ended or was cut off without saying so. Its last sign of life was "
        lines.append(line("warning", text, when(run.last_seen or run.first_seen), "."))
    if missing := missing_text(losses):
        # Samples may thin out; what tasks did may not.
        level: Level = "warning" if losses.dropped_states or losses.dropped_control or losses.aside else "note"
        lines.append(line(level, f"Not everything of this run is here: {missing}."))
    return lines


def missing_text(losses: Losses) -> str:
    """What is known to be missing, in words; '' when nothing is."""
    states = losses.dropped_states + losses.dropped_control
    parts = [
        (states, "record of a task or the run was dropped", "records of tasks or the run were dropped"),
        (losses.dropped_samples, "sample was dropped", "samples were dropped"),
        (losses.torn, "stretch of a journal was unreadable", "stretches of journals were unreadable"),
        (losses.aside, "record could not be used", "records could not be used"),
    ]
    return ", ".join(f"{number:,} {one if number == 1 else many}" for number, one, many in parts if number)
