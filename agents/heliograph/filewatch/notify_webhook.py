"""A webhook: what a callback returned, as a JSON POST.

In: a URL, a notice. Out: one request that was answered with 2xx, or NotSent with the cause. Certificates are checked,
redirects are not followed: the request goes to the host that somebody named and to no other.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit

from heliograph.filewatch.config import BadWatch, Notice
from heliograph.filewatch.notify_target import LONGEST, PATIENCE, NotSent, cut_off, key_of, one_line

VERSION = 1
_TRY_AGAIN = {408, 425, 429}
_ANSWER_LIMIT = 64 << 10


def check_webhook(text: object) -> str:
    """An http or https URL with a host and without a user. Raises BadWatch, which never repeats the URL: its path or
    query may be a secret."""
    wrong = "an http:// or https:// URL is expected, such as https://host/path"
    if not isinstance(text, str) or not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        raise BadWatch("webhook", wrong)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadWatch("webhook", f"its host or port cannot be read; {wrong}") from None
    if parts.scheme.lower() not in {"http", "https"} or not host or port == 0:
        raise BadWatch("webhook", wrong)
    if parts.username is not None or parts.password is not None:
        raise BadWatch("webhook", "a URL with user or password is not taken")
    return text


class Webhook:
    """Posts to one URL. `context` checks the server's certificate (None: by the system's authorities)."""

    def __init__(
        self,
        url: str,
        *,
        context: ssl.SSLContext | None = None,
        patience: float = PATIENCE,
        longest: float = LONGEST,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._secure = parts.scheme.lower() == "https"
        self._target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
        self._context, self._patience, self._longest = context, patience, longest
        self.name = f"webhook {self._host}" + (f":{self._port}" if self._port else "")

    def send(self, notice: Notice, about: Mapping[str, str]) -> None:
        connection = self._connection()
        try:
            connection.connect()
            with cut_off(lambda: connection.sock, self._longest):
                status = self._post(connection, notice, about)
        except ssl.SSLError as error:
            words = getattr(error, "verify_message", None) or error.reason or error
            raise NotSent(f"TLS failed ({words})", again=False) from error
        except TimeoutError as error:
            raise NotSent("no answer in time", again=True) from error
        except socket.gaierror as error:
            raise NotSent(f"the host name is not known ({error.strerror})", again=True) from error
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or one_line(str(error), 200) or type(error).__name__
            raise NotSent(str(words), again=True) from error
        finally:
            connection.close()
        if 300 <= status < 400:
            raise NotSent(f"answered with {status}; redirects are not followed", again=False)
        if not 200 <= status < 300:
            raise NotSent(f"answered with {status}", again=status >= 500 or status in _TRY_AGAIN)

    def _connection(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._patience)
        context = self._context or ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._patience, context=context)

    def _post(self, connection: http.client.HTTPConnection, notice: Notice, about: Mapping[str, str]) -> int:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "heliograph",
            "Idempotency-Key": key_of(notice, about),
        }
        connection.request("POST", self._target, body=body(notice, about), headers=headers)
        answer = connection.getresponse()
        answer.read(_ANSWER_LIMIT)
        return answer.status


def body(notice: Notice, about: Mapping[str, str]) -> bytes:
    """The JSON object that is posted: what the mail says, in fields."""
    content = {
        "version": VERSION,
        "about": dict(about),
        "watch": notice.watch,
        "root": notice.root,
        "callback": notice.callback,
        "sequence": notice.sequence,
        "outcome": notice.outcome,
        "result": notice.result,
        "files": list(notice.paths),
        "file_count": notice.files,
        "at": datetime.fromtimestamp(notice.at / 1e6, tz=timezone.utc).isoformat(),
        "elapsed_seconds": notice.elapsed / 1e6,
        "repeat": notice.repeat,
    }
    return json.dumps(content).encode()  # ASCII only: also names that are no valid text can be told
