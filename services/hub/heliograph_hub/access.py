"""Who may do what: join, publish, read. Nothing can be changed from here: whoever administers works on the server.

In: the Authorization header. Out: nothing, or a `Problem` with 401 (who are you?) or 403 (not you).
Without tokens a hub on loopback is for the user who runs it (and root): others of the machine can reach it, too.
Secrets are compared in constant time and never logged. Basic authentication is taken beside Bearer for reading, with
the token as password, because a browser can ask for that and cannot ask for a bearer token.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Callable

from fastapi import Request

from heliograph import peers
from heliograph.peers import Address
from heliograph_hub.config import HubConfig
from heliograph_hub.errors import Problem
from heliograph_hub.tokens import PUBLISH, BadToken, Claims, Signer, same

Stranger = Callable[[Address | None, Address | None], int | None]


def may_join(config: HubConfig, request: Request, stranger: Stranger = peers.stranger) -> None:
    """An agent or launcher may ask for a run's token."""
    if config.join_open:
        _ours(request, stranger, "HELIOGRAPH_JOIN_TOKEN_FILE")
        return
    given = _given(request, basic=False)
    if given is None or config.join_token is None or not same(given, config.join_token):
        raise _who("the join token is missing or wrong", "set HELIOGRAPH_TOKEN to this deployment's join token")


def may_read(config: HubConfig, request: Request, stranger: Stranger = peers.stranger) -> None:
    """Anyone with the read token; on a loopback hub without one its own user."""
    if config.read_open:
        _ours(request, stranger, "HELIOGRAPH_READ_TOKEN_FILE")
        return
    given = _given(request, basic=True)
    if given is None or config.read_token is None or not same(given, config.read_token):
        raise _who(
            "the read token is missing or wrong",
            "send 'Authorization: Bearer <read token>'",
            scheme='Basic realm="heliograph"',
        )


def may_publish(signer: Signer, request: Request, run: str) -> Claims:
    """The holder of this run's token."""
    given = _given(request, basic=False)
    if given is None:
        raise _who("no run token", "ask POST /v1/connect for one and send it as 'Authorization: Bearer <token>'")
    try:
        claims = signer.check(given, now=time.time())
    except BadToken as error:
        raise _who(str(error), "ask POST /v1/connect for a new one") from None
    if claims.run != run or claims.scope != PUBLISH:
        raise Problem(
            403,
            "this token is for another run or purpose",
            what_to_do="use the token that /v1/connect gave for this run",
        )
    return claims


def _ours(request: Request, stranger: Stranger, setting: str) -> None:
    if stranger(request.scope.get("client"), request.scope.get("server")) is not None:
        owner = peers.user_name(os.geteuid())
        raise Problem(
            403,
            f"this hub has no tokens and is for user {owner} alone, who runs it",
            what_to_do=f"start your own, or ask {owner} to set {setting} and to give you the token",
        )


def _given(request: Request, *, basic: bool) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
    return None


def _who(what: str, what_to_do: str, *, scheme: str = "Bearer") -> Problem:
    return Problem(401, what, what_to_do=what_to_do, headers={"www-authenticate": scheme})
