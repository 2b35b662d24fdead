"""Which failures are the same: what varies goes, what tells failures apart stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_store.fingerprint import LONGEST, fingerprint, normalised, parts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cell 17 is outside of [0, 512)", "cell 123456 is outside of [0, 1024)"),
        ("took 1.5e-3 s", "took 27 s"),
        ("<Field object at 0x7f3a>", "<Field object at 0xffff01>"),
        ("job 9f1c2d3e-0000-4000-8000-123456789abc died", "job 00000000-1111-4222-9333-cba987654321 died"),
        ("blob 3f786850e387550fdab836ed7e6dc881de23001b", "blob 89e6c98d92887913cadf06b2adb97f26cde4849b"),
        (
            "[Errno 2] No such file or directory: '/data/a/1.h5'",
            "[Errno 2] No such file or directory: '/data/b c/2.h5'",
        ),
        ("cannot open /scratch/u1/x.bin: denied", "cannot open /home/other/y: denied"),
        ("GET https://host:81/a?b=1 failed", "GET https://other/ failed"),
        ("worker node017.cluster lost", "worker node3.cluster lost"),
        ("bad row 'Smith, 12'", "bad row 'Müller: 9'"),
        ("first\nsecond 1", "first\nand something else"),
    ],
)
def test_what_varies_goes(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'Field' object has no attribute 'mean'", "'Field' object has no attribute 'sum'"),
        ("No module named 'numpy'", "No module named 'scipy'"),
        ("disk full", "disk failed"),
        ("", "x"),
    ],
)
def test_what_tells_failures_apart_stays(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_type_and_place_count() -> None:
    one = fingerprint("ValueError", "a.py:3 in f", "x 1", None, "failed")
    assert one == fingerprint("ValueError", "a.py:3 in f", "x 2", "anything", "fail_retryable")
    assert one != fingerprint("ValueError", "a.py:4 in f", "x 1", None, "failed")
    assert one != fingerprint("TypeError", "a.py:3 in f", "x 1", None, "failed")
    assert parts(one) == ("ValueError", "a.py:3 in f", "x #")


@pytest.mark.parametrize(
    ("history", "state", "expected"),
    [
        ("ManagerLost('loss of manager 12 on n7')", "failed", ("ManagerLost", None, "loss of manager # on n#")),
        ("ValueError('a'), ManagerLost('b')", "failed", ("ManagerLost", None, "b")),
        ("something went wrong", "failed", (None, None, "something went wrong")),
        (None, "dep_fail", ("DependencyError", None, "")),
        (None, "failed", (None, None, "")),
    ],
)
def test_the_submitting_process_is_asked_when_nobody_else_knows(
    history: str | None, state: str, expected: tuple[str | None, None, str]
) -> None:
    assert parts(fingerprint(None, None, None, history, state)) == expected


@given(st.text(max_size=300))
def test_any_text_has_a_bounded_form_that_stays(message: str) -> None:
    found = normalised(message)
    assert len(found) <= LONGEST
    assert "\n" not in found


@pytest.mark.parametrize("text", ["'" * 100_000, "/" * 100_000, "1" * 100_000, "a.b://" * 20_000, "\"'`" * 30_000])
def test_long_texts_are_cut_before_they_cost_time(text: str) -> None:
    assert len(normalised(text)) <= LONGEST
