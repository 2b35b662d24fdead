"""The task sampler on made-up process tables: whose a process is, and that totals are true and never fall."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.agent.processes import Details, Row
from heliograph.agent.sample_tasks import ActiveTry, TaskSampler
from heliograph.messages import TaskEnded, TaskSample

SECOND = 1_000_000


class Table:
    """A process table by hand. `create_time` is the monotonic time in ticks of 10 ms."""

    def __init__(self) -> None:
        self.at: dict[int, Row] = {}
        self.more: dict[int, Details] = {}
        self.walks = 0

    def rows(self) -> dict[int, Row]:
        self.walks += 1
        return dict(self.at)

    def details(self, pid: int) -> Details:
        return self.more.get(pid, Details())

    def started(self, mono: int) -> int | None:
        return mono // 10_000

    def put(self, pid: int, ppid: int = 1, *, born: int = 0, user: int = 0, reaped: int = 0, rss: int = 100) -> None:
        self.at[pid] = Row(pid, ppid, born, "running", user, 0, reaped, 0, 1, 1000, rss, 0)

    def io(self, pid: int, read: int, *, switches: int = 0, peak: int | None = None) -> None:
        self.more[pid] = Details(read=read, write=0, voluntary=switches, involuntary=0, peak=peak)

    def exit(self, pid: int, *, reap: bool = True) -> None:
        """The process ends; its parent waits for it (the kernel adds its times to the parent's), or init does."""
        gone = self.at.pop(pid)
        parent = self.at.get(gone.ppid)
        if reap and parent is not None:
            more = gone.user + gone.reaped_user
            self.at[parent.pid] = parent._replace(reaped_user=parent.reaped_user + more)
        for row in list(self.at.values()):
            if row.ppid == pid:
                self.at[row.pid] = row._replace(ppid=1)

    def burn(self, pid: int, more: int) -> None:
        self.at[pid] = self.at[pid]._replace(user=self.at[pid].user + more)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def sampler(table: Table) -> TaskSampler:
    return TaskSampler(table, boot="this")


def a_try(number: int = 0, pid: int = 10, **known: object) -> ActiveTry:
    base = ActiveTry(
        run="r",
        origin="",
        number=number,
        try_=0,
        host="h",
        pid=pid,
        create_time=0,
        mono=SECOND,
        cpu_user=0,
        cpu_system=0,
    )
    return msgspec.structs.replace(base, **known)


def at(seconds: float) -> tuple[int, int]:
    return int(1_700_000_000 * SECOND + seconds * SECOND), int(seconds * SECOND)


def only(samples: list[TaskSample]) -> TaskSample:
    assert len(samples) == 1
    return samples[0]


def test_a_try_is_its_process_and_all_descendants(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=5, rss=100)
    table.put(11, 10, born=200, user=7, rss=10)
    table.put(12, 11, born=200, user=9, rss=1)
    table.put(99, user=1000, rss=1000)
    sample = only(sampler.tick([a_try()], at(3)))
    assert (sample.cpu_user, sample.rss, sample.children, sample.threads) == (21, 111, 2, 3)
    assert not sample.shared


def test_one_walk_whatever_the_number_of_tries_and_none_when_nothing_is_due(table: Table, sampler: TaskSampler) -> None:
    tries = [a_try(number, 100 + number) for number in range(50)]
    for try_ in tries:
        table.put(try_.pid)
    assert len(sampler.tick(tries, at(2))) == 50
    assert sampler.tick(tries, at(3)) == []
    assert table.walks == 1
    assert len(sampler.tick(tries, at(12))) == 50
    assert table.walks == 2


def test_each_try_keeps_its_own_interval(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(20)
    often, seldom = a_try(1, 10, interval=1.0), a_try(2, 20, interval=10.0)
    got = [[s.number for s in sampler.tick([often, seldom], at(second))] for second in (2, 3, 4)]
    assert got == [[1, 2], [1], [1]]


def test_totals_do_not_fall_when_a_child_that_was_reaped_exits(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200, user=500)
    assert only(sampler.tick([a_try()], at(3))).cpu_user == 500
    table.burn(11, 40)
    table.exit(11)
    assert only(sampler.tick([a_try()], at(13))).cpu_user == 540
    assert only(sampler.tick([a_try()], at(23))).cpu_user == 540


def test_totals_do_not_fall_when_nobody_waited_for_the_child(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=1)
    table.put(11, 10, born=200, user=500)
    sampler.tick([a_try()], at(3))
    table.exit(11, reap=False)
    assert only(sampler.tick([a_try()], at(13))).cpu_user == 501


def test_children_that_lived_between_two_walks_are_counted(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200, user=500)
    sampler.tick([a_try()], at(3))
    table.put(12, 10, born=400, user=30)
    table.exit(12)
    table.exit(11)
    assert only(sampler.tick([a_try()], at(13))).cpu_user == 530


def test_a_whole_family_that_exits_is_counted_once(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200, user=50)
    table.put(12, 11, born=200, user=500)
    sampler.tick([a_try()], at(3))
    table.exit(12)
    table.exit(11)
    assert only(sampler.tick([a_try()], at(13))).cpu_user == 550


def test_an_orphan_stays_with_its_try(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200)
    table.put(12, 11, born=200, user=5)
    sampler.tick([a_try()], at(3))
    table.exit(11)
    table.burn(12, 20)
    sample = only(sampler.tick([a_try()], at(13)))
    assert (sample.cpu_user, sample.children) == (25, 1)


def test_bytes_of_reaped_children_are_counted_once(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200)
    table.io(10, 1000)
    table.io(11, 70)
    assert only(sampler.tick([a_try()], at(3))).read_bytes == 70  # 1000 were read before anybody looked
    table.exit(11)
    table.io(10, 1000 + 80)  # /proc/<pid>/io holds what reaped children read, 10 more after the last walk
    assert only(sampler.tick([a_try()], at(13))).read_bytes == 80


def test_a_nested_registered_process_is_not_its_parents(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=1, rss=100)
    table.put(11, 10, born=200, user=50, rss=10)
    table.put(12, 11, born=200, user=5, rss=1)
    outer, inner = a_try(1, 10), a_try(2, 11, create_time=200, mono=2 * SECOND)
    by_number = {s.number: s for s in sampler.tick([outer, inner], at(3))}
    assert (by_number[1].cpu_user, by_number[1].rss, by_number[1].children) == (1, 100, 0)
    assert (by_number[2].cpu_user, by_number[2].rss, by_number[2].children) == (55, 11, 1)
    table.exit(12)
    table.exit(11)  # its times are in its parent's reaped ones now, and must not be billed again
    assert only(sampler.tick([outer], at(13))).cpu_user == 1


def test_an_idle_pool_worker_does_not_bring_its_past_to_the_outer_try(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200)
    outer, inner = a_try(1, 10), a_try(2, 11, create_time=200, mono=2 * SECOND)
    sampler.tick([outer, inner], at(3))
    table.burn(11, 5000)
    sampler.tick([outer, inner], at(13))
    sampler.ended(inner, at(14))
    assert only(sampler.tick([outer], at(23))).cpu_user == 0
    table.burn(11, 7)
    assert only(sampler.tick([outer], at(33))).cpu_user == 7


def test_the_past_of_a_reused_worker_is_not_the_next_trys(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=900)
    table.io(10, 10_000, switches=70)
    first = a_try(1, cpu_user=100)
    assert only(sampler.tick([first], at(3))).cpu_user == 800
    sampler.ended(first, at(4))
    table.burn(10, 60)
    table.io(10, 10_500, switches=75)
    second = a_try(2, mono=5 * SECOND, cpu_user=950)
    sample = only(sampler.tick([second], at(6)))
    assert (sample.cpu_user, sample.read_bytes, sample.ctx_voluntary) == (10, 0, 0)
    table.io(10, 10_700, switches=76)
    sample = only(sampler.tick([second], at(16)))
    assert (sample.read_bytes, sample.ctx_voluntary) == (200, 1)


def test_without_the_times_at_its_start_a_reused_worker_counts_from_the_first_walk(
    table: Table, sampler: TaskSampler
) -> None:
    table.put(10, user=900)
    unknown = a_try(cpu_user=None, cpu_system=None)
    assert only(sampler.tick([unknown], at(3))).cpu_user == 0
    table.burn(10, 4)
    assert only(sampler.tick([unknown], at(13))).cpu_user == 4


def test_what_an_earlier_try_left_running_counts_from_now_on(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200, user=300)
    first = a_try(1)
    sampler.tick([first], at(3))
    sampler.ended(first, at(4))
    second = a_try(2, mono=5 * SECOND)
    table.burn(11, 50)
    assert only(sampler.tick([second], at(6))).cpu_user == 0
    table.burn(11, 9)
    assert only(sampler.tick([second], at(16))).cpu_user == 9


def test_another_process_under_the_same_pid_is_nobodys(table: Table, sampler: TaskSampler) -> None:
    table.put(10, born=0, user=5)
    sampler.tick([a_try()], at(3))
    table.exit(10)
    table.put(10, born=400, user=7777)
    assert sampler.tick([a_try()], at(13)) == []
    last = sampler.ended(a_try(), at(14))
    assert last is not None
    assert (last.cpu_user, last.last) == (5, True)


def test_a_child_under_a_reused_pid_does_not_continue_the_old_ones_counters(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    table.put(11, 10, born=200, user=500)
    sampler.tick([a_try()], at(3))
    table.exit(11)
    table.put(11, 10, born=600, user=20)
    assert only(sampler.tick([a_try()], at(13))).cpu_user == 520


def test_threads_of_one_process_share_it_and_say_so(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=100, rss=50)
    tries = [a_try(1, cpu_user=0), a_try(2, cpu_user=90)]
    samples = sampler.tick(tries, at(3))
    assert [(s.shared, s.rss, s.cpu_user) for s in samples] == [(True, 50, 100), (True, 50, 10)]
    alone = only(sampler.tick([a_try(3, 10, shared=True, cpu_user=0)], at(13)))
    assert alone.shared


def test_tries_of_two_runs_in_one_process_are_told_apart(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    one, other = a_try(run="one", interval=1.0), a_try(run="other", interval=10.0)
    keys = [[key[0] for key, _ in sampler.keyed([other, one], at(second))] for second in (2, 3)]
    assert keys == [["other", "one"], ["one"]]


def test_the_end_brings_what_only_the_process_knew(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=100, rss=50)
    sampler.tick([a_try()], at(3))
    record = TaskEnded(
        at=0, origin="", number=0, try_=0, host="h", pid=10, ok=True, elapsed=1, cpu_user=130, cpu_system=4,
        peak_rss=900, peak_exact=True,
    )  # fmt: skip
    last = sampler.ended(a_try(), at(4), record)
    assert last is not None
    assert (last.cpu_user, last.cpu_system, last.peak_rss, last.last, last.mono) == (130, 4, 900, True, 4 * SECOND)
    assert sampler.ended(a_try(), at(5), record) is None


def test_an_upper_bound_is_not_taken_for_the_peak(table: Table, sampler: TaskSampler) -> None:
    table.put(10, rss=50)
    sampler.tick([a_try()], at(3))
    record = TaskEnded(at=0, origin="", number=0, try_=0, host="h", pid=10, ok=True, elapsed=1, peak_rss=900)
    last = sampler.ended(a_try(), at(4), record)
    assert last is not None
    assert last.peak_rss == 50


def test_a_try_that_no_walk_saw_has_no_last_sample(sampler: TaskSampler) -> None:
    assert sampler.ended(a_try(), at(4)) is None


def test_the_peak_stays_when_memory_falls(table: Table, sampler: TaskSampler) -> None:
    table.put(10, rss=500)
    table.put(11, 10, born=200, rss=10)
    table.io(11, 0, peak=2000)
    assert only(sampler.tick([a_try()], at(3))).peak_rss == 2000  # a child of this try: its whole life counts
    table.put(10, rss=20)
    sample = only(sampler.tick([a_try()], at(13)))
    assert (sample.rss, sample.peak_rss) == (30, 2000)


def test_what_a_system_does_not_tell_is_unknown(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    sample = only(sampler.tick([a_try()], at(3)))
    assert (sample.read_bytes, sample.write_bytes, sample.ctx_voluntary) == (None, None, None)


def test_totals_go_on_after_a_restart(table: Table, sampler: TaskSampler) -> None:
    table.put(10, user=5)
    table.put(11, 10, born=200, user=500)
    sampler.tick([a_try()], at(3))
    raw = sampler.snapshot()
    table.exit(11)  # while no agent ran
    table.burn(10, 1)
    fresh = TaskSampler(table, boot="this")
    assert fresh.restore(raw)
    assert only(fresh.tick([a_try()], at(13))).cpu_user == 506


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"nonsense", b"\x93\xa4this\x01\x02"])
def test_a_broken_snapshot_is_refused(table: Table, sampler: TaskSampler, raw: bytes) -> None:
    table.put(10, user=5)
    sampler.tick([a_try()], at(3))
    assert not sampler.restore(raw)
    assert only(sampler.tick([a_try()], at(13))).cpu_user == 5


def test_a_snapshot_of_another_boot_is_refused(table: Table, sampler: TaskSampler) -> None:
    assert not sampler.restore(TaskSampler(table, boot="other").snapshot())


def test_tries_whose_end_nobody_told_are_forgotten(table: Table, sampler: TaskSampler) -> None:
    table.put(10)
    sampler.tick([a_try()], at(3))
    for second in range(100):
        sampler.tick([], at(10 + second))
    assert len(sampler.snapshot()) < 200
    assert sampler.ended(a_try(), at(200)) is None


Step = st.tuples(
    st.sampled_from(["fork", "burn", "exit", "lost", "tick", "restart"]), st.integers(0, 7), st.integers(1, 50)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(Step, max_size=60))
def test_totals_never_fall_and_never_exceed_what_was_used(steps: list[tuple[str, int, int]]) -> None:
    """Whatever forks, burns and exits, reaped or lost, with restarts of the agent in between."""
    table, now, born, used, before = Table(), 2.0, 200, 0, 0
    sampler = TaskSampler(table, boot="this")
    table.put(10)
    pids = [10]
    for step, who, much in [*steps, ("tick", 0, 1)]:
        pid = pids[who % len(pids)]
        if step == "fork":
            born += 1
            pids.append(1000 + born)
            table.put(pids[-1], pid, born=born)
        elif step == "burn":
            table.burn(pid, much)
            used += much
        elif step in {"exit", "lost"} and pid != 10:
            table.exit(pid, reap=step == "exit")
            pids.remove(pid)
        elif step == "tick":
            now += 10
            total = only(sampler.tick([a_try()], at(now))).cpu_user
            assert total is not None
            assert before <= total <= used
            before = total
        elif step == "restart":
            raw = sampler.snapshot()
            sampler = TaskSampler(table, boot="this")
            assert sampler.restore(raw)
