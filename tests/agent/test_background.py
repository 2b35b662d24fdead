"""A process that is started beside the user's program understands the environment as that program does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heliograph.background import settled


def test_what_is_relative_here_is_told_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "HELIOGRAPH_TOKEN_FILE": "secrets/token", "HELIOGRAPH_SITE_FILE": "/etc/site.toml", "HELIOGRAPH_BUS_FILE": "",
        "HELIOGRAPH_BUS": "spool:relative", "SOME_FILE": "relative", "PYTHONPATH": f"lib{os.pathsep}/opt/lib",
    }  # fmt: skip
    found = settled(given)
    assert found["HELIOGRAPH_TOKEN_FILE"] == str(tmp_path / "secrets" / "token")
    unchanged = {name: value for name, value in given.items() if name not in {"HELIOGRAPH_TOKEN_FILE", "PYTHONPATH"}}
    assert found | unchanged == found
    assert found["PYTHONPATH"].split(os.pathsep)[-2:] == [str(tmp_path / "lib"), "/opt/lib"]
    assert "PYTHONPATH" in settled({}) or "site-packages" in settled.__code__.co_filename
    assert given["HELIOGRAPH_TOKEN_FILE"] == "secrets/token"
