"""Run tokens hold against any change, end in time, and their secret is kept privately."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_hub.tokens import BadToken, Claims, Signer, same, secret_from_file

SIGNER = Signer("s" * 32)
TOKEN = SIGNER.sign(Claims(run="r-1", expires=1000))


@given(run=st.text(), expires=st.integers(min_value=1, max_value=2**60))
def test_what_was_signed_comes_back(run: str, expires: int) -> None:
    claims = Claims(run=run.encode("utf-8", "replace").decode(), expires=expires)
    assert SIGNER.check(SIGNER.sign(claims), now=expires - 1) == claims


@given(place=st.integers(min_value=0, max_value=len(TOKEN) - 1), char=st.characters())
def test_a_token_with_any_character_changed_is_refused(place: int, char: str) -> None:
    changed = TOKEN[:place] + char + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(BadToken):
            SIGNER.check(changed, now=0)


@given(text=st.text(max_size=3000))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        SIGNER.check(text, now=0)


def test_a_token_ends_with_its_time_and_belongs_to_one_secret() -> None:
    assert SIGNER.check(TOKEN, now=999.9).run == "r-1"
    with pytest.raises(BadToken, match="expired"):
        SIGNER.check(TOKEN, now=1000)
    with pytest.raises(BadToken):
        Signer("t" * 32).check(TOKEN, now=0)


def test_same_compares_whole_texts() -> None:
    assert same("abc", "abc")
    assert not same("abc", "abcd")
    assert not same("", "a")
    assert not same("ä", "a")


def test_of_hubs_that_start_together_all_use_one_private_secret(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    with ThreadPoolExecutor(8) as threads:
        secrets = set(threads.map(lambda _: secret_from_file(path), range(16)))
    assert len(secrets) == 1
    assert len(secrets.pop()) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["secret"]


def test_a_secret_that_others_can_read_or_that_is_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret_from_file(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        secret_from_file(tmp_path / "link")
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="0600"):
        secret_from_file(path)
    short = tmp_path / "short"
    short.write_text("x\n")
    short.chmod(0o600)
    with pytest.raises(PermissionError, match="short"):
        secret_from_file(short)
