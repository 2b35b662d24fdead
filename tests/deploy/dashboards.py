"""The Grafana dashboards, as a test reads them: their expressions, ready to be asked of a Prometheus.

In: the JSON files. Out: one `Asked` for each expression and each variable, Grafana's own variables replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.deploy.stack import ROOT, Stack

FOLDER = ROOT / "helm" / "heliograph" / "files" / "dashboards"
NAMES = sorted(path.name for path in FOLDER.glob("*.json"))
MAY_BE_EMPTY = {
    "sum by (cause) (rate(heliograph_writer_retries_total[1m]))": "the database was never away",
    "sum by (class) (rate(heliograph_hub_intake_bytes_total[1m]))": "all agents reach RabbitMQ",
}
"""Expressions that have nothing to say where all is well, with the reason."""
_VARIABLES = {"$__rate_interval": "1m", "$app": ".*", "$executor": ".*", "$workflow": ".*", "$run": ".*"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question: where it stands, and the query, or the labels' values that a variable offers."""

    where: str
    query: str
    label: str | None = None

    def result(self, stack: Stack) -> list[Any]:
        """What the stack's Prometheus answers. Fails when it does not understand the question."""
        if self.label is None:
            found: list[Any] = stack.prometheus("query?" + urlencode({"query": self.query}))["result"]
            return found
        values: list[Any] = stack.prometheus(f"label/{self.label}/values?" + urlencode({"match[]": self.query}))
        return values


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found


def asked(name: str) -> Iterator[Asked]:
    """Every expression and every variable of a dashboard."""
    board = dashboard(name)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            (question,) = re.findall(r"^label_values\((.+), (\w+)\)$", variable["query"])
            yield Asked(where=f"{name}: ${variable['name']}", query=plain(question[0]), label=question[1])
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield Asked(where=f"{name}: {panel['title']}", query=plain(target["expr"]))


def plain(expression: str) -> str:
    """With Grafana's variables replaced, all of them: another one would go to Prometheus as it is."""
    for variable, value in _VARIABLES.items():
        expression = re.sub(re.escape(variable) + r"\b", value, expression)
    assert "$" not in expression, expression
    return expression


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:heliograph|rabbitmq|process)[_:][\w:]+|\bup\b", re.sub(r'"[^"]*"', '""', expression)))
