"""Efficiency against cases computed by hand: the numbers in the comments need no more than a pencil."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph_store.read.efficiency import (
    Occupied,
    Pool,
    Share,
    Stint,
    cpu_share,
    length,
    memory_share,
    merged,
    most_at_once,
    occupation,
    over_time,
    spread,
    worker_share,
)
from heliograph_store.read.stints import requested

S = 1_000_000
GB = 1 << 30


def pool(name: str, workers: int | None, since: int, until: int) -> Pool:
    return Pool(key=("n1", name), host="n1", executor="htex", workers=workers, since=since * S, until=until * S)


def stint(name: str, worker: int, began: float, ended: float, **more: object) -> Stint:
    return Stint(
        app="a",
        pool=("n1", name),
        worker=worker,
        began=int(began * S),
        ended=int(ended * S),
        **more,  # type: ignore[arg-type]
    )


def seconds(share: Share) -> tuple[float, float]:
    return share.used / S, share.available / S


# -- workers ---------------------------------------------------------------------------------------------------------


def test_two_workers_of_which_one_works_half_the_time() -> None:
    # 2 workers × 100 s; one runs 100 s, the other 50 s.
    share = worker_share(occupation([pool("p", 2, 0, 100)], [stint("p", 0, 0, 100), stint("p", 1, 20, 70)]))
    assert seconds(share) == (150, 200)
    assert share.ratio == 0.75


def test_pools_that_overlap_in_time_have_their_own_workers() -> None:
    # 4 × 100 s and 2 × 100 s on one host, 50 s of it at the same time; each worker counts.
    pools = [pool("p", 4, 0, 100), pool("q", 2, 50, 150)]
    tries = [stint("p", 0, 0, 100), stint("q", 0, 50, 150), stint("q", 1, 50, 150)]
    assert seconds(worker_share(occupation(pools, tries))) == (300, 600)


def test_a_node_that_joins_late_was_not_idle_before() -> None:
    # 1 × 100 s busy throughout; the second from 90 s on, busy for its 10 s.
    pools = [pool("p", 1, 0, 100), pool("late", 1, 90, 100)]
    share = worker_share(occupation(pools, [stint("p", 0, 0, 100), stint("late", 0, 90, 100)]))
    assert seconds(share) == (110, 110)
    assert share.ratio == 1.0


def test_a_try_whose_end_nobody_told_does_not_make_its_worker_busy_twice() -> None:
    # Worker 0 runs 0–40; then one that was lost, taken to last until the pool's end, while others ran in 50–90.
    tries = [stint("p", 0, 0, 40), stint("p", 0, 40, 100), stint("p", 0, 50, 70), stint("p", 0, 70, 90)]
    share = worker_share(occupation([pool("p", 1, 0, 100)], tries))
    assert seconds(share) == (100, 100)


def test_tasks_inside_of_tasks_count_once() -> None:
    # The outer one runs 0–60 and calls inner ones at 10–20 and 30–50 in the same thread.
    tries = [stint("p", 0, 0, 60), stint("p", 0, 10, 20), stint("p", 0, 30, 50)]
    share = worker_share(occupation([pool("p", 1, 0, 80)], tries))
    assert seconds(share) == (60, 80)


def test_retries_are_work_too() -> None:
    # Two failed tries of 10 s and the good one of 30 s, on one worker that was there for 100 s.
    tries = [stint("p", 0, 0, 10), stint("p", 0, 10, 20), stint("p", 0, 50, 80)]
    assert seconds(worker_share(occupation([pool("p", 1, 0, 100)], tries))) == (50, 100)


def test_a_pool_that_told_no_number_has_as_many_workers_as_were_at_work_at_once() -> None:
    # Threads 1 and 2 at the same time in 20–40, thread 3 later: two at once. 2 × 100 s.
    tries = [stint("t", 1, 0, 40), stint("t", 2, 20, 60), stint("t", 3, 70, 90)]
    (found,) = occupation([pool("t", None, 0, 100)], tries)
    assert found.workers == 2
    assert seconds(found.share) == (100, 200)


def test_more_workers_at_work_than_were_registered_make_room_and_not_more_than_all() -> None:
    tries = [stint("p", worker, 0, 100) for worker in range(3)]
    share = worker_share(occupation([pool("p", 2, 0, 100)], tries))
    assert seconds(share) == (300, 300)


def test_parsls_own_threads_are_nobodys_workers() -> None:
    # 2 workers × 100 s, busy all the time; beside them Parsl's own thread ran two joins of a moment.
    own = Pool(key=("n1", "own"), host="n1", executor="_parsl_internal", workers=None, since=0, until=100 * S)
    tries = [stint("p", 0, 0, 100), stint("p", 1, 0, 100), stint("own", 7, 10, 11), stint("own", 7, 20, 21)]
    assert seconds(worker_share(occupation([pool("p", 2, 0, 100), own], tries))) == (200, 200)


def test_work_outside_of_what_a_pool_told_extends_it() -> None:
    # Registered 10–50, but its worker ran 0–20 and 80–100: it was there for 100 s.
    share = worker_share(occupation([pool("p", 1, 10, 50)], [stint("p", 0, 0, 20), stint("p", 0, 80, 100)]))
    assert seconds(share) == (40, 100)


def test_tries_of_a_pool_that_nobody_registered_make_one() -> None:
    share = worker_share(occupation([], [stint("x", 0, 10, 20), stint("x", 1, 15, 30)]))
    assert seconds(share) == (25, 40)  # two workers, 10–30


def test_nothing_is_unknown_and_not_zero() -> None:
    assert worker_share(occupation([], [])).ratio is None
    assert cpu_share([]).ratio is None
    assert memory_share([stint("p", 0, 0, 5, peak=None, memory=GB)]).ratio is None


def test_workers_over_time() -> None:
    # 2 workers in 0–100, one busy in 10–60: by quarters of 25 s: 15/25, 25/25, 10/25, 0.
    found = over_time(occupation([pool("p", 2, 0, 100)], [stint("p", 0, 10, 60)]), buckets=4)
    shown = [(round(o.busy, 2), round(o.available, 2)) for o in found]
    assert shown == [(0.6, 2), (1, 2), (0.4, 2), (0, 2)]


# -- processors ------------------------------------------------------------------------------------------------------


def test_cpu_time_against_run_time() -> None:
    # 9 of 10 s and 3 of 10 s on a core each: 12 of 20.
    share = cpu_share([stint("p", 0, 0, 10, cpu=9 * S), stint("p", 1, 0, 10, cpu=3 * S)])
    assert seconds(share) == (12, 20)
    assert share.ratio == 0.6


def test_cores_that_were_asked_for_count_whether_used_or_not() -> None:
    # 4 cores for 10 s are 40 core-seconds, of which 20 were used.
    assert cpu_share([stint("p", 0, 0, 10, cpu=20 * S, cores=4.0)]).ratio == 0.5


def test_a_try_that_keeps_more_cores_busy_than_it_asked_for_counts_with_those() -> None:
    # 36 CPU seconds in 10 s are 3.6 cores: 4 of them, 90 % used; beside it one of 10 s at 50 %: 41 of 50.
    share = cpu_share([stint("p", 0, 0, 10, cpu=36 * S), stint("p", 1, 0, 10, cpu=5 * S)])
    assert seconds(share) == (41, 50)
    assert (share.over, share.tries) == (1, 2)


def test_clock_ticks_are_no_further_core() -> None:
    share = cpu_share([stint("p", 0, 0, 10, cpu=int(10.03 * S))])
    assert (share.ratio, share.over) == (1.0, 0)


def test_what_measuring_a_short_try_takes_is_no_further_core() -> None:
    # 0.2 ms in which 0.5 ms of CPU time were counted, of which measuring took part; and 20 ms with 39 ms, on two cores.
    share = cpu_share([stint("p", 0, 0, 0.0002, cpu=500), stint("p", 0, 1, 1.02, cpu=39_000)])
    assert (share.used, share.available) == (39_200, 40_200)
    assert (share.tries, share.over) == (2, 1)


def test_tries_without_cpu_times_count_on_neither_side() -> None:
    # One still runs, one was lost: nothing is known of them.
    share = cpu_share([stint("p", 0, 0, 10, cpu=5 * S), stint("p", 1, 0, 500), stint("p", 2, 7, 7, cpu=S)])
    assert (share.ratio, share.tries) == (0.5, 1)


# -- memory ----------------------------------------------------------------------------------------------------------


def test_memory_is_weighted_by_run_time() -> None:
    # 1 of 4 GiB for 30 s, 3 of 4 GiB for 10 s: 60 of 160 GiB·s.
    tries = [stint("p", 0, 0, 30, peak=GB, memory=4 * GB), stint("p", 1, 0, 10, peak=3 * GB, memory=4 * GB)]
    assert memory_share(tries).ratio == 60 / 160


def test_a_try_that_needs_more_than_it_asked_for_is_told_of() -> None:
    # 6 of 4 GiB for 10 s and 2 of 4 GiB for 10 s: 80 of 100 GiB·s.
    tries = [stint("p", 0, 0, 10, peak=6 * GB, memory=4 * GB), stint("p", 1, 0, 10, peak=2 * GB, memory=4 * GB)]
    share = memory_share(tries)
    assert (share.ratio, share.over) == (0.8, 1)


def test_what_a_task_asks_for() -> None:
    assert requested('{"cores": 4, "memory": 2048}') == (4.0, 2 * GB)
    assert requested('{"cores": 0.5, "disk": 9}') == (0.5, None)
    for nonsense in (None, "", "[1]", "{", '{"cores": "4"}', '{"cores": -1, "memory": true}', '{"memory": 1e400}'):
        assert requested(nonsense) == (None, None)


# -- always ----------------------------------------------------------------------------------------------------------

times = st.integers(0, 200)
some_stints = st.lists(
    st.builds(
        lambda name, worker, began, lasted, cpu, cores, peak, memory: stint(
            name, worker, began, began + lasted, cpu=cpu, cores=cores, peak=peak, memory=memory
        ),
        st.sampled_from("pq"),
        st.integers(0, 3),
        times,
        st.integers(-5, 100),
        st.none() | st.integers(0, 500 * S),
        st.none() | st.floats(0.1, 8),
        st.none() | st.integers(0, 9 * GB),
        st.none() | st.integers(0, 4 * GB),
    ),
    max_size=30,
)
some_pools = st.lists(
    st.builds(pool, st.sampled_from("pqr"), st.none() | st.integers(0, 4), times, times),
    max_size=3,
    unique_by=lambda p: p.key,
)


@settings(max_examples=150, deadline=None)
@given(some_pools, some_stints)
def test_nothing_ever_exceeds_all_of_it(pools: list[Pool], stints: list[Stint]) -> None:
    occupied = occupation(pools, stints)
    for share in (worker_share(occupied), cpu_share(stints), memory_share(stints), *(o.share for o in occupied)):
        assert 0 <= share.used <= share.available
    for moment in over_time(occupied, buckets=7):
        assert moment.busy <= moment.available + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(times, times), max_size=12))
def test_merging_covers_each_moment_once(intervals: list[tuple[int, int]]) -> None:
    covered = {moment for began, ended in intervals for moment in range(began, ended)}
    assert length(merged(intervals)) == len(covered)
    depth = [sum(began <= moment < ended for began, ended in intervals) for moment in range(200)]
    assert most_at_once(intervals) == max(depth)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(times, times, st.integers(0, 5)), max_size=12), st.integers(1, 60), st.integers(1, 9))
def test_spreading_agrees_with_counting(weighted: list[tuple[int, int, int]], width: int, buckets: int) -> None:
    counted = [0] * buckets
    for began, ended, weight in weighted:
        for moment in range(began, ended):
            if 0 <= (moment - 20) // width < buckets:
                counted[(moment - 20) // width] += weight
    assert spread(weighted, 20, width, buckets) == counted


def test_an_occupied_pool_shows_what_it_was_made_of() -> None:
    (found,) = occupation([pool("p", 2, 0, 10)], [stint("p", 0, 2, 4)])
    assert found == Occupied(pool=pool("p", 2, 0, 10), workers=2, busy=[(2 * S, 4 * S)], tries=1)
