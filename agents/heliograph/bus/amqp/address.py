"""Where a broker is and who we are there.

In: an `amqp://` or `amqps://` URL. Out: a checked address that never shows its password.

    amqps://user:password@host:5671/vhost?cafile=/path/ca.pem&certfile=…&keyfile=…
    amqps://user:password@host:5671/vhost?fingerprint=<SHA-256 of the broker's certificate>

With a fingerprint the broker has to show exactly that certificate, whoever signed it and whatever names it holds:
agents need no file then. The vhost and the user information are percent-encoded (`%2F` is the vhost '/', also the
default).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from heliograph.bus import BadUrl, hidden

_FILES = {"cafile", "certfile", "keyfile"}
_OPTIONS = {*_FILES, "fingerprint"}
_EXAMPLE = "write amqp://user:password@host:5672/vhost or amqps://…?cafile=/path/ca.pem"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A broker's address. Its text names host, user and vhost and never the password."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises BadUrl that says what is wrong."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"an AMQP URL with a bad host or port ({_safe(error)}); {_EXAMPLE}") from None
        secure = parts.scheme.lower() == "amqps"
        if not parts.hostname:
            raise BadUrl(f"{hidden(url)!r} names no host; {_EXAMPLE}")
        if "/" in parts.path[1:]:
            raise BadUrl(f"{hidden(url)!r}: a vhost with a slash is written with %2F; {_EXAMPLE}")
        return cls(
            host=parts.hostname,
            port=port or (5671 if secure else 5672),
            vhost=unquote(parts.path[1:]) or "/",
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            tls=_tls(parts, secure=secure),
        )

    def __str__(self) -> str:
        return f"RabbitMQ at {self.host}:{self.port}, vhost {self.vhost!r}, user {self.user!r}"


def _safe(error: ValueError) -> str:
    # urllib quotes the part that it could not read, and a password with a slash in it is read as a port.
    return "the port is not a number" if "port" in str(error).lower() else "the host cannot be read"


def _tls(parts: SplitResult, *, secure: bool) -> ssl.SSLContext | None:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise BadUrl(f"an AMQP URL takes {', '.join(sorted(_OPTIONS))}, not {', '.join(unknown)}")
    if not secure:
        if options:
            raise BadUrl(f"{', '.join(sorted(options))} in an amqp:// URL has no use; write amqps:// for TLS")
        return None
    for name in sorted(options.keys() & _FILES):
        if not Path(options[name]).is_file():
            raise BadUrl(f"{name} {options[name]!r} of the AMQP URL is not a file")
    try:
        if "fingerprint" in options:
            context = _pinned(options)
        else:
            context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            context.load_cert_chain(options["certfile"], options.get("keyfile"))
    except (OSError, ssl.SSLError) as error:
        raise BadUrl(f"the TLS files of the AMQP URL cannot be used: {error}") from error
    return context


def _pinned(options: dict[str, str]) -> ssl.SSLContext:
    """Trusts one certificate and no authority: nothing is sent, passwords least of all, to who shows another."""
    digits = options["fingerprint"].lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise BadUrl("the fingerprint of an AMQP URL is the SHA-256 of the certificate in 64 hexadecimal digits")
    if "cafile" in options:
        raise BadUrl("an AMQP URL names a cafile or a fingerprint, not both")

    class Pinned(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            found = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
            if not hmac.compare_digest(found, digits):
                error = ssl.SSLError()
                error.reason = "its certificate is not the one with the known fingerprint"  # as OpenSSL's own have it
                raise error

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = Pinned
    return context
