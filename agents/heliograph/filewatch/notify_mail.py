"""Mail through an SMTP server: what a callback returned, to the address of its watch.

In: a server's settings, a notice. Out: one mail with the return value as its body, or NotSent with the cause.
"""

from __future__ import annotations

import email.policy
import getpass
import re
import smtplib
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from heliograph import state
from heliograph.filewatch.config import BadWatch, Notice
from heliograph.filewatch.notify_target import LONGEST, PATIENCE, NotSent, cut_off, key_of, one_line
from heliograph.settings import Smtp

MOST_TEXT = 256 << 10
"""Characters of a body: more is cut, as nobody reads it and servers refuse it."""
_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TEMPORARY = range(400, 500)


def check_email(text: object) -> str:
    """One mail address `name@host`, with its host's name as it travels. Raises BadWatch."""
    if not isinstance(text, str):
        raise BadWatch("email", f"{text!r} is not a mail address")
    local, at, domain = text.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode() if domain else ""
    except UnicodeError:
        domain = ""
    labels = domain.split(".")
    if not at or not _LOCAL.fullmatch(local) or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadWatch("email", f"{one_line(text, 80)!r} is not a mail address such as ada@example.org")
    return f"{local}@{domain}"


class Mail:
    """Sends to one address. `context` checks the server's certificate (None: by the system's authorities)."""

    def __init__(
        self,
        *,
        to: str,
        smtp: Smtp,
        context: ssl.SSLContext | None = None,
        patience: float = PATIENCE,
        longest: float = LONGEST,
    ) -> None:
        self._to, self._smtp, self._context = to, smtp, context
        self._patience, self._longest = patience, longest
        self.name = f"mail to {to}"

    def send(self, notice: Notice, about: Mapping[str, str]) -> None:
        smtp = self._smtp
        servers: list[smtplib.SMTP] = []  # in there before it connects, so that it can be cut off in that, too
        if smtp.user and smtp.tls == "none" and smtp.host not in _LOOPBACK:
            how = "set HELIOGRAPH_SMTP_TLS to starttls or ssl"
            raise NotSent(f"{smtp.where}: a password is not sent without TLS; {how}", again=False)
        try:
            message = self.message(notice, about)
            with cut_off(lambda: servers[0].sock if servers else None, self._longest):
                server = self._connect(servers)
                self._greet(server)
                # Not send_message, which would make ">From" of a line that begins with "From".
                server.sendmail(str(message["From"]), [self._to], message.as_bytes(policy=email.policy.SMTP))
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()), (550, b""))
            raise self._refused(code, text) from error
        except smtplib.SMTPResponseException as error:
            raise self._refused(error.smtp_code, error.smtp_error) from error
        except ssl.SSLError as error:
            raise NotSent(f"{smtp.where}: TLS failed ({_tls_words(error)})", again=False) from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotSent(f"{smtp.where}: {error}", again=False) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            words = getattr(error, "strerror", None) or one_line(str(error), 200) or type(error).__name__
            if isinstance(error, TimeoutError):
                words = "no answer in time"
            raise NotSent(f"{smtp.where}: {words}", again=True) from error
        finally:
            for server in servers:
                _end(server)

    def message(self, notice: Notice, about: Mapping[str, str]) -> EmailMessage:
        """The mail. Nothing in a notice can add a header: whatever goes into one is put on one line."""
        run = one_line(about.get("run", ""), 80)
        said = "" if notice.outcome == "ok" else f" {notice.outcome}:"
        again = " (again)" if notice.repeat else ""
        message = EmailMessage()
        message["From"] = self._sender()
        message["To"] = self._to
        message["Subject"] = one_line(
            f"[heliograph]{said} {one_line(notice.callback, 80)}: {notice.files} "
            f"file{'' if notice.files == 1 else 's'}{again}, watch {one_line(notice.watch, 60)}"
            + (f", run {run}" if run else ""),
            300,
        )
        message["Date"] = format_datetime(datetime.fromtimestamp(notice.at / 1e6, tz=timezone.utc))
        message["Message-ID"] = f"<{key_of(notice, about)}@heliograph.invalid>"
        message["Auto-Submitted"] = "auto-generated"
        for name, value in about.items():
            if value and re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,30}", name):
                message[f"X-Heliograph-{name.title()}"] = one_line(value, 200)
        text = (notice.result or "")[:MOST_TEXT].encode(errors="replace").decode()
        message.set_content(text, cte="quoted-printable" if len(text) < MOST_TEXT else "base64")
        return message

    def _sender(self) -> str:
        if self._smtp.sender:
            return check_email(self._smtp.sender)
        host = re.sub(r"[^A-Za-z0-9.-]", "-", state.host()).strip(".-") or "localhost"
        try:
            user = re.sub(r"[^A-Za-z0-9._-]", "-", getpass.getuser()) or "heliograph"
        except (KeyError, OSError):
            user = "heliograph"
        return f"{user}@{host}"

    def _connect(self, servers: list[smtplib.SMTP]) -> smtplib.SMTP:
        smtp = self._smtp
        own_name = re.sub(r"[^A-Za-z0-9.-]", "-", state.host()) or "localhost"  # smtplib's own way asks the DNS
        if smtp.tls == "ssl":
            return _Secure(
                servers, smtp.host, smtp.port, local_hostname=own_name, timeout=self._patience, context=self._checks()
            )
        return _Plain(servers, smtp.host, smtp.port, local_hostname=own_name, timeout=self._patience)

    def _greet(self, server: smtplib.SMTP) -> None:
        smtp = self._smtp
        if smtp.tls == "starttls":
            server.starttls(context=self._checks())
        if smtp.user:
            server.login(smtp.user, smtp.password)

    def _checks(self) -> ssl.SSLContext:
        return self._context or ssl.create_default_context()

    def _refused(self, code: int, text: bytes | str) -> NotSent:
        words = text.decode(errors="replace") if isinstance(text, bytes) else text
        return NotSent(f"{self._smtp.where}: {code} {one_line(words, 200)}", again=code in _TEMPORARY or code < 0)


class _Plain(smtplib.SMTP):
    def __init__(self, servers: list[smtplib.SMTP], *args: Any, **kwargs: Any) -> None:
        servers.append(self)
        super().__init__(*args, **kwargs)


class _Secure(smtplib.SMTP_SSL):
    def __init__(self, servers: list[smtplib.SMTP], *args: Any, **kwargs: Any) -> None:
        servers.append(self)
        super().__init__(*args, **kwargs)


def _end(server: smtplib.SMTP) -> None:
    try:
        if server.sock is not None:
            server.sock.settimeout(1.0)
            server.quit()
    except (OSError, smtplib.SMTPException):
        server.close()


def _tls_words(error: ssl.SSLError) -> str:
    return str(getattr(error, "verify_message", None) or error.reason or error)
