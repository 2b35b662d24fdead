"""A hub that would be an open door cannot be configured, and its secrets are not printed."""

from __future__ import annotations

import pytest

from heliograph_hub.config import BadConfig, HubConfig, is_loopback

SECRET = "a-long-enough-token-0123456789"
OPEN = {"bus_url": "spool:/tmp/x", "database_url": "sqlite:///x.db"}


def test_loopback_without_tokens_is_allowed() -> None:
    config = HubConfig(**OPEN)
    assert (config.host, config.port) == ("127.0.0.1", 55055)
    assert config.join_open
    assert config.read_open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.3", "head-node", ""])
@pytest.mark.parametrize("missing", ["join_token", "read_token"])
def test_an_address_of_others_needs_both_tokens(host: str, missing: str) -> None:
    tokens = {"join_token": SECRET, "read_token": SECRET}
    del tokens[missing]
    with pytest.raises(BadConfig, match=missing):
        HubConfig(**OPEN, host=host, plain_http=True, **tokens)


def test_an_address_of_others_needs_tls_or_the_word_that_something_else_does_it() -> None:
    tokens = {"join_token": SECRET, "read_token": SECRET}
    with pytest.raises(BadConfig, match="TLS"):
        HubConfig(**OPEN, host="0.0.0.0", **tokens)
    config = HubConfig(**OPEN, host="0.0.0.0", plain_http=True, **tokens)
    assert not config.join_open
    assert not config.read_open


@pytest.mark.parametrize(
    "token", ["", "with space in the middle", "ümlaut-token-0123456789", "new\nline-0123456789abc", "short"]
)
def test_tokens_that_cannot_travel_or_can_be_guessed_are_refused(token: str) -> None:
    with pytest.raises(BadConfig, match="join_token"):
        HubConfig(**OPEN, host="0.0.0.0", plain_http=True, join_token=token, read_token=SECRET)


@pytest.mark.parametrize(
    "setting",
    [{"port": 70000}, {"max_body": 0}, {"publishers": 0}, {"publish_timeout": 0.0}, {"token_lifetime": float("nan")}],
)
def test_settings_out_of_range_are_named(setting: dict[str, float]) -> None:
    with pytest.raises(BadConfig, match=next(iter(setting))):
        HubConfig(**OPEN, **setting)  # type: ignore[arg-type]


def test_repr_hides_every_secret() -> None:
    config = HubConfig(
        bus_url="amqp://u:hidden1@h/v",
        database_url="postgresql://u:hidden2@h/d",
        public_bus_url="amqp://u:hidden3@h/v",
        join_token="hidden4",
        read_token="hidden5",
        signing_secret="hidden6",
    )
    assert "hidden" not in repr(config)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
