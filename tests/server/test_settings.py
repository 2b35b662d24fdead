"""Settings: where they come from, which source wins, and that no secret shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from heliograph_server.errors import SetupError
from heliograph_server.settings import SECRETS, Settings, load

SECRET = "s3cr3t-token-of-some-length"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets counts."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HELIOGRAPH_{name.upper()}", raising=False)
        monkeypatch.delenv(f"HELIOGRAPH_{name.upper()}_FILE", raising=False)
    monkeypatch.delenv("HELIOGRAPH_CONFIG", raising=False)


def environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"HELIOGRAPH_{name.upper()}", value)


def test_command_line_then_environment_then_secret_file_then_toml_then_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = tmp_path / "heliograph.toml"
    toml.write_text('hub_port = 1\nlinger = 0.5\nhealth_port = 2\ndatabase = "sqlite:////toml"\nread_token = "toml"\n')
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    environment(monkeypatch, config=str(toml), hub_port="3", health_port="4", read_token_file=str(token))
    settings = load({"hub_port": 5, "health_port": None})
    assert settings.hub_port == 5, "the command line"
    assert settings.health_port == 4, "the environment"
    assert settings.read_token == SECRET, "the secret's file, without its line end"
    assert settings.linger == 0.5, "the TOML file"
    assert settings.database == "sqlite:////toml"
    assert settings.prefetch == Settings().prefetch, "the default"


def test_secrets_are_in_no_repr() -> None:
    settings = Settings(**dict.fromkeys(SECRETS, f"amqp://user:{SECRET}@host"))
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().hub_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hub_port": "many"}, "HELIOGRAPH_HUB_PORT"),
        ({"hub_port": "70000"}, "HELIOGRAPH_HUB_PORT"),
        ({"log_format": "xml"}, "HELIOGRAPH_LOG_FORMAT"),
        ({"linger": "-1"}, "HELIOGRAPH_LINGER"),
        ({"raw_samples_for": "0"}, "HELIOGRAPH_RAW_SAMPLES_FOR"),
        ({"config": "/nowhere/heliograph.toml"}, "/nowhere/heliograph.toml"),
        ({"join_token_file": "/nowhere/token"}, "HELIOGRAPH_JOIN_TOKEN_FILE"),
        ({"bus": "x", "bus_file": "/nowhere"}, "both HELIOGRAPH_BUS and HELIOGRAPH_BUS_FILE"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(values: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, **values)
    with pytest.raises(SetupError, match=told) as caught:
        load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["hub_prot = 1", "hub_port = [", "join_token = 5"])
def test_a_wrong_toml_file_is_told_without_its_values(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = tmp_path / "heliograph.toml"
    toml.write_text(f'read_token = "{SECRET}"\n{text}\n')
    environment(monkeypatch, config=str(toml))
    with pytest.raises(SetupError) as caught:
        load()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None, "a chained error would show the values"
