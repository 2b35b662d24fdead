"""The one HTML page that every address of the dashboard answers with; the browser's scripts do the rest.

In: a Dash app. Out: its index, the same for all, with the prefix of the request in its addresses.
"""

from __future__ import annotations

import re
from typing import Final

from dash import Dash
from dash.backends._fastapi import reset_current_request, set_current_request
from fastapi import Request, Response

from heliograph_dashboard.answers import Answer, answer_of
from heliograph_dashboard.urls import prefix

TEMPLATE: Final = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <meta name="color-scheme" content="light dark">
    <title>{%title%}</title>
    {%favicon%}
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>{%config%}{%scripts%}{%renderer%}</footer>
  </body>
</html>"""
ADDRESS: Final = re.compile(r'((?:src|href)=")/|("requests_pathname_prefix":")\\u002f(")')


class Index:
    """Renders once, and once more for each prefix."""

    def __init__(self, dash: Dash) -> None:
        self._dash = dash
        self._plain: str | None = None
        self._answers: dict[str, Answer] = {}

    async def serve(self, request: Request) -> Response:
        from heliograph_dashboard.backend import packed_answer

        under = prefix.get()
        if under not in self._answers:
            if len(self._answers) > 100:
                self._answers.clear()
            self._answers[under] = answer_of(self._under(request, under).encode())
        answer = self._answers[under]
        html = Answer(status=200, body=answer.body, packed=answer.packed, kind="text/html")
        return packed_answer(request, html, cache="no-cache")

    def _under(self, request: Request, under: str) -> str:
        if self._plain is None:
            token = set_current_request(request)
            try:
                self._plain = str(self._dash.index())
            finally:
                reset_current_request(token)

        def put(found: re.Match[str]) -> str:
            if found[1]:
                return found[1] + under
            return found[2] + under.replace("/", "\\u002f") + found[3]

        return ADDRESS.sub(put, self._plain)
