"""The login page: one field for the password or the token, and a cookie for who knows it.

In: a form. Out: a small page without scripts, or a cookie and the way back. Behind it stands `sessions`.
"""

from __future__ import annotations

import html
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from heliograph_dashboard.access import Request, set_cookie
from heliograph_dashboard.config import DashboardConfig
from heliograph_dashboard.sessions import COOKIE, Guesses, Sessions

MAX_FORM = 4 << 10
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Log in · Heliograph</title>
<link rel="icon" href="{prefix}assets/logo.svg"><link rel="stylesheet" href="{prefix}assets/login.css"></head>
<body><main><img src="{prefix}assets/logo.svg" alt="" width="44" height="44"><h1>Heliograph</h1>{note}
<form method="post" action="{prefix}login"><input type="hidden" name="to" value="{to}">
<input type="text" name="user" value="heliograph" autocomplete="username" hidden>
<label for="secret">Password or token</label>
<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Log in</button></form></main></body></html>"""


class Login:
    """Shows the form, takes it, and lets people out again."""

    def __init__(self, config: DashboardConfig, sessions: Sessions, guesses: Guesses) -> None:
        self._config, self._sessions, self._guesses = config, sessions, guesses

    async def show(self, request: HttpRequest) -> Response:
        asked: Request = request.scope["heliograph"]
        to = _inside(request.query_params.get("to", "/"))
        if not self._config.guarded or self._sessions.valid(asked.cookies.get(COOKIE)):
            return RedirectResponse(asked.prefix + to.lstrip("/"), status_code=303)
        return _page(asked, to)

    async def take(self, request: HttpRequest) -> Response:
        asked: Request = request.scope["heliograph"]
        raw = bytearray()
        async for part in request.stream():
            raw += part
            if len(raw) > MAX_FORM:
                return _page(asked, "/", "That was too long.", 413)
        try:
            form = parse_qs(raw.decode(errors="replace"), max_num_fields=10)
        except ValueError:
            return _page(asked, "/", "That is no form of this page.", 400)
        to, given = _inside(form.get("to", ["/"])[0]), form.get("secret", [""])[0]
        if wait := self._guesses.wait(asked.address):
            answer = _page(asked, to, f"Too many wrong guesses: wait {wait:.0f} seconds.", 429)
            answer.headers["retry-after"] = str(int(wait) + 1)
            return answer
        if not self._sessions.secret(given):
            self._guesses.wrong(asked.address)
            return _page(asked, to, "That is not right.", 403)
        back = RedirectResponse(asked.prefix + to.lstrip("/"), status_code=303)
        set_cookie(back, self._sessions, self._config, asked)
        return back

    async def leave(self, request: HttpRequest) -> Response:
        asked: Request = request.scope["heliograph"]
        answer = RedirectResponse(f"{asked.prefix}login", status_code=303)
        answer.delete_cookie(COOKIE, path=asked.prefix)
        return answer


def _page(asked: Request, to: str, note: str = "", status: int = 200) -> HTMLResponse:
    said = f'<p role="alert">{html.escape(note)}</p>' if note else ""
    filled = PAGE.format(prefix=html.escape(asked.prefix), note=said, to=html.escape(to))
    return HTMLResponse(filled, status_code=status, headers={"cache-control": "no-store"})


def _inside(to: str) -> str:
    """A path of ours: whoever logs in is never sent elsewhere."""
    try:
        parts = urlsplit(to)
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not to.startswith("/") or to.startswith(("//", "/\\")):
        return "/"
    if any(ord(c) < 32 for c in to):
        return "/"
    return quote(parts.path, safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
