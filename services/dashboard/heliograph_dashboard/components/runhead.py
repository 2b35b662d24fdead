"""The head of all pages of a run: what it is, its state, how far it is.

In: a run. Out: one line and a bar.
"""

from __future__ import annotations

import time

from dash import html
from dash.development.base_component import Component

from heliograph_dashboard.components.states import legend, run_badge, segmented_bar
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_store.read.liveness import liveness
from heliograph_store.read.runs import Run, run_summary


def run_head(data: Data, run: Run) -> Component:
    summary = data.read(run_summary, run)
    name = cut(run.name or run.run, 80)
    version = html.Span(cut(run.version, 24), className="hg-muted") if run.version else None
    return html.Div(
        [
            html.Div(
                [
                    html.H1([name, " ", version], title=cut(run.run, 400)),
                    run_badge(liveness(run, time.time_ns() // 1000, data.flow().lag)),
                    html.Span(f"{cut(run.owner, 24) or '?'} on {cut(run.host, 48) or '?'}", className="hg-muted"),
                    legend(summary.states),
                ],
                className="hg-run-line",
            ),
            segmented_bar(summary.states, height=6),
        ]
    )
