"""Secrets and those who know them: comparing, cookies, and slowing down who guesses.

In: a password, token or cookie as it came. Out: yes or no. Comparisons take the same time whatever was right; nothing
is stored, a cookie is its own proof until it ends.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from heliograph_dashboard.config import DashboardConfig

COOKIE: Final = "heliograph"
FREE: Final = 5
"""Wrong guesses of one address that cost nothing."""
WAIT: Final = 12.0
"""Seconds for one more guess after those."""
EVERYBODY: Final = 30
"""Wrong guesses of all addresses together, as `FREE`: guessing from many addresses is guessing too."""
UNGUESSABLE: Final = 20
"""Characters of a token from which on it need not be guarded by waiting: made by a machine, it has over 80 bits."""
REMEMBERED: Final = 10_000


def same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


class Sessions:
    """Who may come in."""

    def __init__(self, config: DashboardConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config, self._clock = config, clock
        root = (config.signing_secret or secrets.token_hex(32)).encode()
        # Another password or token ends all sessions.
        known = "\0".join((config.password or "", config.token or "")).encode()
        self._key = hmac.new(root, b"dashboard session\0" + known, hashlib.sha256).digest()

    def password(self, given: str) -> bool:
        return self._config.password is not None and same(given, self._config.password)

    def token(self, given: str) -> bool:
        return self._config.token is not None and same(given, self._config.token)

    def long_token(self, given: str) -> bool:
        """The right token, and one that nobody finds by trying: it is let in however many wrong ones came before."""
        right = self.token(given)
        return right and len(given) >= UNGUESSABLE

    def secret(self, given: str) -> bool:
        """A password or a token; both are compared, so that neither can be told from how long it takes."""
        password, token = self.password(given), self.token(given)
        return password or token

    def cookie(self) -> str:
        """A new session: when it ends, and our signature."""
        end = str(int(self._clock() + self._config.session_lifetime))
        return f"{end}.{self._sign(end)}"

    def valid(self, cookie: str | None) -> bool:
        end, _, signature = (cookie or "").partition(".")
        if not end.isascii() or not end.isdigit() or len(end) > 12 or not same(signature, self._sign(end)):
            return False
        return int(end) > self._clock()

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


class Guesses:
    """Wrong guesses by address: a few are free, then each has to be waited for."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_address: dict[str, tuple[float, float]] = {}
        """What was guessed wrongly (it fades), and when that was."""

    def wait(self, address: str) -> float:
        """Seconds until this address may guess again; 0 when it may now."""
        with self._lock:
            mine = (self._level(address) - FREE + 1) * WAIT
            others = (self._level("") - EVERYBODY + 1) * WAIT / EVERYBODY
            return max(0.0, mine, others)

    def wrong(self, address: str) -> None:
        with self._lock:
            if len(self._by_address) > REMEMBERED:
                everybody = self._by_address.get("")
                self._by_address = {"": everybody} if everybody is not None else {}
            for who in (address, ""):
                self._by_address[who] = (self._level(who) + 1.0, self._clock())

    def _level(self, who: str) -> float:
        level, at = self._by_address.get(who, (0.0, 0.0))
        pace = WAIT / EVERYBODY if who == "" else WAIT
        return max(0.0, level - (self._clock() - at) / pace)
