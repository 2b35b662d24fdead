"""One connection and one channel to RabbitMQ, driven in the caller's thread. The only module that imports pika.

In: an address, then plain calls. Out: their answers, or `Lost` with a text for people when anything at all goes wrong.

pika's own blocking connection waits for the broker after each published message. Here the event-driven one runs only
while a caller waits for something, so many messages share one round trip, and there is no thread and no lock.
A lost link is never repaired: its owner makes a new one.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import pika
from pika import exceptions, spec
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils import connection_workflow

from heliograph.bus.amqp.address import Address
from heliograph.messages import CONTENT_TYPE

CONNECT_TIMEOUT = 5.0
OPEN_TIMEOUT = 10.0
CALL_TIMEOUT = 15.0
CONFIRM_TIMEOUT = 30.0
"""Seconds without any confirm after which the broker counts as gone."""
BLOCKED = 0
"""Code of a link that the broker blocks, because its memory or its disk is nearly full."""
HEARTBEAT = 60
"""Seconds, for those who publish: a missing confirm tells them sooner that nobody is there, and an idle connection that
nobody drives has to last from one message to the next."""
_CLOSE_TIMEOUT = 2.0

_pika_log = logging.getLogger("pika")
if _pika_log.level == logging.NOTSET:
    # pika logs a failed connection as eight errors and a stack; here each becomes one exception that says the cause.
    _pika_log.setLevel(logging.CRITICAL)


class Lost(Exception):
    """This link is of no use any more. `code` is the broker's reply code when it closed it on purpose (404, 406, …)."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Fate(Enum):
    """What became of a published message."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    RETURNED = "returned"


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to publish. `headers` are for dead letters; batches have none."""

    exchange: str
    key: str
    body: bytes = field(repr=False)
    headers: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message that the broker delivered and that waits to be acknowledged under `tag`."""

    tag: int
    key: str
    body: bytes = field(repr=False)
    redelivered: bool = False
    headers: dict[str, Any] = field(default_factory=dict)


class Link:
    """Not thread-safe. `inbox` holds what consumers were sent and nobody took yet."""

    def __init__(
        self, address: Address, *, purpose: str, confirm_timeout: float = CONFIRM_TIMEOUT, heartbeat: int = HEARTBEAT
    ) -> None:
        """Connect and open a channel. Raises Lost."""
        self._confirm_timeout = confirm_timeout
        self.inbox: deque[Received] = deque()
        self._address = address
        self._failure: Lost | None = None
        self._closing = False
        self._stopping = False
        self._got: list[Received | None] = []
        self._sequence = 0
        self._pending: dict[int, int] = {}
        self._fates: list[Fate] = []
        self._confirms = False
        self._loop: Any = IOLoop()
        self._connection: Any = pika.SelectConnection(
            _parameters(address, purpose, heartbeat),
            on_open_callback=lambda _connection: self._wake(),
            on_open_error_callback=lambda _connection, error: self._fail(_explain(error, address)),
            on_close_callback=lambda _connection, error: self._fail(_explain(error, address)),
            custom_ioloop=self._loop,
        )
        self._connection.add_on_connection_blocked_callback(self._on_blocked)
        try:
            self._await(lambda: bool(self._connection.is_open), OPEN_TIMEOUT, "no answer")
            self.new_channel()
        except Lost:
            self.close()
            raise

    @property
    def version(self) -> tuple[int, int]:
        """The broker's version; (0, 0) when it does not say."""
        text = (self._connection.server_properties or {}).get("version", "")
        text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        numbers = [int(part) if part.isdigit() else 0 for part in text.split(".")[:2]]
        return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)

    def new_channel(self) -> None:
        """A fresh channel, also after the broker closed the last one over a refused declaration. Raises Lost."""
        if self._connection.is_open:
            self._failure = None
        self._confirms = False
        opened: list[Any] = []

        def done(channel: Any) -> None:
            opened.append(channel)
            self._wake()

        with self._translated():
            self._connection.channel(on_open_callback=done)
        self._await(lambda: bool(opened), CALL_TIMEOUT, "no channel")
        self._channel: Any = opened[0]
        self._channel.add_on_close_callback(self._on_channel_closed)
        self._channel.add_on_cancel_callback(lambda _frame: self._fail(Lost(f"{self._address}: a queue went away")))
        self._channel.add_on_return_callback(self._on_return)
        self._channel.add_callback(lambda _frame: self._on_get(None), [spec.Basic.GetEmpty], one_shot=False)

    # -- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], bool], timeout: float) -> bool:
        """Drive the connection until `ready` or for `timeout` seconds; heartbeats are kept. Raises Lost."""
        end = time.monotonic() + timeout
        while not ready():
            if self._failure is not None:
                raise self._failure
            rest = end - time.monotonic()
            if rest <= 0:
                return False
            self._run(rest)
        return True

    def _await(self, ready: Callable[[], bool], timeout: float, complaint: str) -> None:
        if not self.wait(ready, timeout):
            raise Lost(f"{self._address}: {complaint} within {timeout:.0f} s")

    def breathe(self) -> None:
        """Send what is ready to be sent, take what has come, without waiting. Raises Lost."""
        self._run(0)
        if self._failure is not None:
            raise self._failure

    def _run(self, seconds: float) -> None:
        fired: list[bool] = []

        def expire() -> None:
            fired.append(True)
            self._wake()

        timer = self._loop.call_later(seconds, expire)
        self._stopping = False
        with self._translated():
            self._loop.start()
        if not fired:
            self._loop.remove_timeout(timer)

    def _wake(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._loop.stop()

    def _fail(self, failure: Lost) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        # The broker has stopped to read from this connection, so nothing that waits here gets any further.
        self._fail(Lost(f"{self._address}: takes no messages for now ({frame.method.reason})", BLOCKED))

    def _on_channel_closed(self, _channel: Any, error: BaseException) -> None:
        if not self._closing:
            self._fail(_explain(error, self._address))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.AMQPError, exceptions.ChannelError, OSError) as error:
            raise self._failure or _explain(error, self._address) from error

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, method: str, **arguments: Any) -> Any:
        """One of the channel's methods that the broker answers, such as queue_declare. Raises Lost."""
        answers: list[Any] = []

        def done(frame: Any) -> None:
            answers.append(frame)
            self._wake()

        with self._translated():
            getattr(self._channel, method)(callback=done, **arguments)
        self._await(lambda: bool(answers), CALL_TIMEOUT, f"no answer to {method}")
        return answers[0].method

    def consume(self, queue: str, *, arguments: dict[str, Any]) -> str:
        """Let the broker send this queue's messages to the inbox; returns the consumer's tag."""
        tag = self.call("basic_consume", queue=queue, arguments=arguments, on_message_callback=self._on_message)
        return str(tag.consumer_tag)

    def get(self, queue: str) -> Received | None:
        """One message of a queue that stays unacknowledged, None when it is empty."""
        self._got.clear()
        with self._translated():
            self._channel.basic_get(queue, lambda _channel, *message: self._on_get(_received(*message)))
        self._await(lambda: bool(self._got), CALL_TIMEOUT, "no answer to basic_get")
        return self._got[0]

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        with self._translated():
            self._channel.basic_ack(tag, multiple)

    def requeue(self, tag: int, *, multiple: bool = False) -> None:
        with self._translated():
            self._channel.basic_nack(tag, multiple, requeue=True)

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.inbox.append(_received(method, properties, body))
        self._wake()

    def _on_get(self, received: Received | None) -> None:
        self._got.append(received)
        self._wake()

    # -- publishing --------------------------------------------------------------------------------------------------

    def send(self, messages: Sequence[Message]) -> list[Fate]:
        """Publish all, persistent and mandatory, and wait until the broker answered for each. Raises Lost."""
        if not self._confirms:
            self._sequence = 0
            self.call("confirm_delivery", ack_nack_callback=self._on_confirm)
            self._confirms = True
        if not messages:
            self.breathe()  # notices a connection that was lost
        self._fates = [Fate.CONFIRMED] * len(messages)
        self._pending.clear()
        for index, message in enumerate(messages):
            self._sequence += 1
            self._pending[self._sequence] = index
            with self._translated():
                self._channel.basic_publish(
                    message.exchange, message.key, message.body, _properties(message, self._sequence), mandatory=True
                )
        while self._pending:
            left = len(self._pending)
            self._await(partial(self._fewer, left), self._confirm_timeout, "no confirm (blocked, or gone)")
        return self._fates

    def _fewer(self, left: int) -> bool:
        return len(self._pending) < left

    def _on_confirm(self, frame: Any) -> None:
        tag, method = frame.method.delivery_tag, frame.method
        tags = [t for t in self._pending if t <= tag] if method.multiple else [tag]
        for confirmed in tags:
            index = self._pending.pop(confirmed, None)
            if index is not None and isinstance(method, spec.Basic.Nack):
                self._fates[index] = Fate.REFUSED
        self._wake()

    def _on_return(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        # A returned message comes back before its confirm, which says no more than that the broker dealt with it.
        with contextlib.suppress(KeyError, TypeError, ValueError):
            self._fates[self._pending[int(properties.message_id)]] = Fate.RETURNED

    def close(self) -> None:
        """End the link, in good order when the broker answers soon. Never raises."""
        self._closing = True
        with contextlib.suppress(Lost, exceptions.AMQPError, exceptions.ChannelError):
            if not self._connection.is_closed:
                self._connection.close()
            self.wait(lambda: bool(self._connection.is_closed), _CLOSE_TIMEOUT)
        self._loop.close()


def _parameters(address: Address, purpose: str, heartbeat: int) -> Any:
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.user, address.password),
        ssl_options=None if address.tls is None else pika.SSLOptions(address.tls, address.host),
        heartbeat=heartbeat,
        blocked_connection_timeout=CONFIRM_TIMEOUT,
        socket_timeout=CONNECT_TIMEOUT,
        stack_timeout=OPEN_TIMEOUT - 1,
        connection_attempts=1,
        client_properties={"connection_name": f"heliograph {purpose}", "product": "heliograph"},
    )


def _properties(message: Message, sequence: int) -> Any:
    return pika.BasicProperties(
        content_type=CONTENT_TYPE, delivery_mode=2, message_id=str(sequence), headers=message.headers
    )


def _received(method: Any, properties: Any, body: bytes) -> Received:
    return Received(
        tag=method.delivery_tag,
        key=method.routing_key,
        body=body,
        redelivered=bool(method.redelivered),
        headers=dict(properties.headers or {}),
    )


def _explain(error: BaseException, address: Address) -> Lost:
    """A cause for people: pika wraps it in up to four others. Names host and user, never the password."""
    cause = _innermost(error)
    code = getattr(cause, "reply_code", None)
    return Lost(f"{address}: {_words(cause, code)}", code)


def _words(cause: BaseException, code: int | None) -> str:
    text = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, exceptions.ProbableAuthenticationError | exceptions.AuthenticationError):
        text = "refused, user or password is wrong"
    elif isinstance(cause, exceptions.ProbableAccessDeniedError):
        text = "refused, there is no such vhost or this user may not use it"
    elif isinstance(cause, exceptions.ConnectionOpenAborted):
        text = "no answer in time"
    elif isinstance(cause, exceptions.StreamLostError):
        text = "the connection was lost"
    elif isinstance(cause, ssl.SSLError):
        text = f"TLS failed ({getattr(cause, 'verify_message', None) or cause.reason or cause})"
    elif isinstance(cause, socket.gaierror):
        text = f"the host name is not known ({cause.strerror})"
    elif isinstance(cause, OSError) and cause.strerror:
        text = cause.strerror
    elif isinstance(cause, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        text = f"closed with {code} {cause.reply_text}"
    return text


def _innermost(error: BaseException) -> BaseException:
    for _ in range(8):
        inner: Any = None
        if isinstance(error, connection_workflow.AMQPConnectionWorkflowFailed):
            inner = error.exceptions[-1] if error.exceptions else None
        elif isinstance(error, connection_workflow.AMQPConnectorPhaseErrorBase):
            inner = error.exception
        elif error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error
