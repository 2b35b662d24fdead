"""The pure pieces: sizing, pacing, sorting out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.bus import Delivery
from heliograph.messages import decode_batch
from heliograph_writer.config import WriterConfig
from heliograph_writer.pipeline import LEAST, Hand, backoff, next_limit, oldest_at, sort_out
from tests.writer.doubles import body


def delivery(size: int = 1) -> Delivery:
    return Delivery(body=b"x" * size, token=None)


def test_a_hand_waits_for_company_and_not_longer() -> None:
    hand = Hand(linger=0.2, max_bytes=100, limit=3)
    assert hand.patience(10.0, 0.5) == 0.5, "empty hands wait as long as they may"
    hand.add([delivery()], 10.0)
    assert hand.patience(10.05, 0.5) == pytest.approx(0.15)
    assert hand.patience(10.3, 0.5) == 0
    hand.add([delivery(), delivery()], 10.1)
    assert hand.patience(10.1, 0.5) == 0, "full by number"
    assert len(hand.take()) == 3
    assert hand.take() == []
    hand.add([delivery(200)], 11.0)
    assert hand.room() == 0, "full by bytes"


@given(st.integers(1, 256), st.floats(0, 100), st.booleans())
def test_the_limit_stays_within_bounds_and_follows_the_store(limit: int, took: float, full: bool) -> None:
    found = next_limit(limit=limit, took=took, target=0.5, was_full=full, most=256)
    assert 1 <= found <= 256
    if took > 0.5:
        assert found == max(LEAST, limit // 2), "what a commit waits for is not less with fewer batches"
    elif not full:
        assert found == limit


@given(st.integers(0, 10_000))
def test_backoff_grows_to_its_cap(attempt: int) -> None:
    delay = backoff(attempt, first=0.1, last=5.0)
    assert 0.05 <= delay <= 5.0
    if attempt > 6:
        assert delay >= 2.5


def test_sorting_out_keeps_order_and_reasons() -> None:
    deliveries = [Delivery(body=b, token=i) for i, b in enumerate([body(offsets=[1]), b"", body(offsets=[2])])]
    good, bad = sort_out(deliveries)
    assert [r.delivery.token for r in good] == [0, 2]
    assert [r.delivery.token for r in bad] == [1]
    assert "not a batch" in bad[0].reason


def test_lag_is_told_by_the_oldest_record() -> None:
    batches = [decode_batch(body(offsets=[5], at=100)), decode_batch(body(offsets=[1], at=50))]
    assert oldest_at(batches) == 51
    assert oldest_at([]) is None


@pytest.mark.parametrize("wrong", [{"linger": -1.0}, {"max_batches": 0}, {"backoff_first": 9.0}])
def test_wrong_values_are_told_where_they_are_made(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        WriterConfig(**wrong)  # type: ignore[arg-type]
