"""All pages, in the order of the navigation."""

from __future__ import annotations

from heliograph_dashboard.page import Page
from heliograph_dashboard.pages import graph, summary, task, workflows

PAGES: tuple[Page, ...] = (
    workflows.PAGE,
    summary.PAGE,
    task.PAGE,
    graph.PAGE,
)
