"""Frames: what a reader finds in bytes that were cut, torn and written on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heliograph.frames import MAGIC, framed, scan

payloads = st.lists(st.binary(max_size=60) | st.just(MAGIC) | st.just(framed(2, b"inside")[:-3]), max_size=12)


@given(payloads, st.data())
def test_a_stream_cut_anywhere_and_written_on_gives_back_every_whole_frame(
    some: list[bytes], data: st.DataObject
) -> None:
    first = b"".join(framed(2, payload) for payload in some)
    cut = data.draw(st.integers(0, len(first)))
    later = [b"later-%d" % n for n in range(3)]
    stream = first[:cut] + b"".join(framed(1, payload) for payload in later)
    frames, used, torn = scan(stream, final=True)
    whole, position = [], 0
    for payload in some:
        position += len(framed(2, payload))
        if position <= cut:
            whole.append(payload)
    assert [frame.payload for frame in frames] == whole + later
    assert used == len(stream)
    clean = cut in {sum(len(framed(2, p)) for p in some[:n]) for n in range(len(some) + 1)}
    assert (torn == 0) == clean
    assert all(stream[f.offset : f.end] == framed(f.code, f.payload) for f in frames)


@given(payloads, st.data())
def test_bytes_turned_or_lost_in_one_frame_cost_no_other(some: list[bytes], data: st.DataObject) -> None:
    some = [*some, b"the last one"]
    victim = data.draw(st.integers(0, len(some) - 1))
    frames = [framed(2, payload) for payload in some]
    hurt = frames[victim]
    place = data.draw(st.integers(0, len(hurt) - 1))
    broken = data.draw(
        st.sampled_from(
            [hurt[:place] + bytes([hurt[place] ^ 0x41]) + hurt[place + 1 :], hurt[:place] + hurt[place + 1 :]]
        )
    )
    found, _, _ = scan(b"".join([*frames[:victim], broken, *frames[victim + 1 :]]), final=True)
    survivors = [frame.payload for frame in found]
    assert survivors == some[:victim] + some[victim + 1 :]


@given(payloads, st.lists(st.integers(1, 40), min_size=1))
def test_a_stream_read_piece_by_piece_gives_the_same(some: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(framed(3, payload) for payload in some)
    position = available = turn = 0
    found: list[bytes] = []
    while available < len(stream):
        available = min(len(stream), available + sizes[turn % len(sizes)])
        turn += 1
        frames, used, torn = scan(stream[position:available], position)
        assert torn == 0
        found += [frame.payload for frame in frames]
        position += used
    assert found == some


def test_an_unfinished_frame_is_waited_for_until_its_writer_goes_on() -> None:
    half = framed(2, b"x" * 100)[:50]
    assert scan(half) == ([], 0, 0)
    frames, used, torn = scan(half + framed(2, b"next"))
    assert [f.payload for f in frames] == [b"next"]
    assert (used, torn) == (50 + len(framed(2, b"next")), 1)
