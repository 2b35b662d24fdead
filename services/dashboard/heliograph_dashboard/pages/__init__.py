"""All pages, in the order of the navigation."""

from __future__ import annotations

from heliograph_dashboard.page import Page
from heliograph_dashboard.pages import (
    app,
    blocks,
    failures,
    files,
    graph,
    node,
    nodes,
    resources,
    summary,
    task,
    tasks,
    timeline,
    workflows,
)

PAGES: tuple[Page, ...] = (
    workflows.PAGE,
    summary.PAGE,
    app.PAGE,
    tasks.PAGE,
    task.PAGE,
    graph.PAGE,
    timeline.PAGE,
    resources.PAGE,
    failures.PAGE,
    nodes.PAGE,
    node.PAGE,
    blocks.PAGE,
    files.PAGE,
)
