"""Run tokens: what an agent may do, signed, so that the hub keeps no list of them.

In: a signing secret, a run, a lifetime. Out: `<claims>.<mac>` in base64url, and the claims back when the mac is right.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from pathlib import Path

import msgspec

PUBLISH = "publish"
MAX_TOKEN = 2048
MIN_SECRET_FILE = 32


class BadToken(ValueError):
    """Not a token of this hub, or expired. The text is for the agent's log and never holds the token."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="v1"):
    """What a token says: this run, until `expires` (seconds since the epoch), this scope."""

    run: str
    expires: int
    scope: str = PUBLISH


_claims = msgspec.msgpack.Decoder(Claims)


class Signer:
    """Signs and checks run tokens. The key is derived, so that the secret itself signs nothing."""

    def __init__(self, secret: str | bytes) -> None:
        raw = secret.encode() if isinstance(secret, str) else secret
        self._key = hmac.digest(raw, b"heliograph run token v1", hashlib.sha256)

    def sign(self, claims: Claims) -> str:
        payload = _b64(msgspec.msgpack.encode(claims))
        return f"{payload}.{self._mac(payload)}"

    def check(self, token: str, *, now: float) -> Claims:
        """The token's claims. Raises BadToken; whether they allow what is asked is for the caller to decide."""
        payload, dot, mac = token.partition(".")
        if not dot or len(token) > MAX_TOKEN or not token.isascii():
            raise BadToken("not a run token")
        if not hmac.compare_digest(self._mac(payload), mac):
            raise BadToken("not a run token of this hub")
        try:
            claims = _claims.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise BadToken("a run token of a version that this hub does not know") from error
        if claims.expires <= now:
            raise BadToken("the run token has expired")
        return claims

    def _mac(self, payload: str) -> str:
        return _b64(hmac.digest(self._key, payload.encode(), hashlib.sha256))


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ (nor on their lengths)."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(expected.encode()).digest())


def secret_from_file(path: Path) -> str:
    """The signing secret kept in this file, made (0600) when there is none. Raises OSError or PermissionError."""
    if not path.exists() and not path.is_symlink():
        _create(path)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_uid not in {os.geteuid(), 0} or about.st_mode & 0o077:
            raise PermissionError(f"{path}: the signing secret must be a file of this user with mode 0600")
        text = file.read(4096).decode("ascii", "replace").strip()
    if len(text) < MIN_SECRET_FILE:
        raise PermissionError(f"{path}: the signing secret is too short; delete the file to have one made")
    return text


def _create(path: Path) -> None:
    """Write a new secret and link it into place, so that of two hubs starting at once both use the first one's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret-")  # mkstemp makes it 0600
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        os.unlink(temporary)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
