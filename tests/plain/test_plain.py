"""Runs, tasks and wrapped executors of plain Python: what is recorded, and that results stay what they were."""

from __future__ import annotations

import concurrent.futures
import inspect
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import heliograph
from heliograph.messages import NodeSeen, RunEnded, RunStarted, TaskDescribed, TaskEnded, TaskRunning, TaskState
from tests.plain.conftest import Outcome, Program, recorded


def states(got: Outcome, number: int, origin: str) -> list[str]:
    return [s.state for s in got.of(TaskState, number=number, origin=origin)]


def test_a_run_with_nested_tasks(program: Program) -> None:
    got = program.python("""
        import heliograph
        @heliograph.task
        def inner(x):
            return x + 1
        @heliograph.task(name="Work")
        def work(x):
            return inner(x) * 2
        with heliograph.run("squares", version="2", tags={"team": "a"}) as run:
            print(work(1), run.id)
        print(work(1))
    """)
    assert got.err == ""
    assert got.out.split()[0::2] == ["4", "4"]
    started, ended = got.one(RunStarted), got.one(RunEnded)
    assert (started.name, started.version, started.tags, started.program) == ("squares", "2", {"team": "a"}, "python")
    assert Path(started.run_dir).parent == program.folder / "runinfo"
    assert (ended.completed, ended.failed, ended.exit) == (2, 0, None)
    outer, inner = got.of(TaskDescribed)
    assert (outer.app, outer.parent, inner.app, inner.parent) == ("Work", None, "inner", outer.number)
    for number in (0, 1):
        assert states(got, number, outer.origin) == ["pending", "launched", "exec_done"]
    assert [(r.number, r.shared) for r in got.of(TaskRunning)] == [(0, False), (1, True)]
    assert all(r.ok for r in got.of(TaskEnded))
    assert len(got.of(NodeSeen)) == 1


def test_a_task_that_fails_and_a_run_that_fails(program: Program) -> None:
    got = program.python("""
        import heliograph
        @heliograph.task
        def bad():
            raise ValueError("no good")
        with heliograph.run("failing"):
            bad()
    """)
    assert got.code == 1
    assert "ValueError: no good" in got.err
    ended = got.one(RunEnded)
    assert (ended.completed, ended.failed, ended.exit) == (0, 1, "ValueError: no good")
    record = got.one(TaskEnded)
    assert (record.ok, record.exc_type) == (False, "ValueError")
    assert [s.state for s in got.of(TaskState)] == ["pending", "launched", "failed"]
    assert got.of(TaskState)[-1].fail_history == "ValueError('no good')"


def test_async_tasks(program: Program) -> None:
    got = program.python("""
        import asyncio, heliograph
        @heliograph.task
        async def wait(x):
            await asyncio.sleep(0.05)
            return x
        async def main():
            return await asyncio.gather(*(wait(x) for x in range(3)))
        with heliograph.run("async"):
            print(asyncio.run(main()))
    """)
    assert got.out == "[0, 1, 2]\n"
    assert [r.ok for r in got.of(TaskEnded)] == [True] * 3
    assert all(r.elapsed >= 45_000 for r in got.of(TaskEnded))
    assert all(d.parent is None for d in got.of(TaskDescribed))


POOL = """
    import sys, multiprocessing, heliograph
    from concurrent.futures import ProcessPoolExecutor
    @heliograph.task(name="Double")
    def double(x):
        if x == 3:
            raise ValueError("three")
        return x * 2
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else METHOD)
        with heliograph.run("pool"):
            with heliograph.monitored(ProcessPoolExecutor(2, mp_context=context)) as pool:
                print(list(pool.map(double, [1, 2])), pool.submit(pow, 2, exp=5).result())
                error = pool.submit(double, 3).exception()
                print(repr(error))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_keeps_results_and_records_in_its_processes(program: Program, method: str) -> None:
    got = program.python(POOL.replace("METHOD", repr(method)))
    assert got.out == "[2, 4] 32\nValueError('three')\n", got.err
    described = got.of(TaskDescribed)
    assert [d.app for d in described] == ["Double", "Double", "pow", "Double"]  # each once, not once more inside
    assert {d.executor for d in described} == {"ProcessPoolExecutor"}
    owner = got.one(RunStarted).pid
    for record in got.of(TaskRunning):
        assert (record.origin, record.shared) == (described[0].origin, False)
        assert record.pid != owner
    assert [s.state for s in got.of(TaskState, number=3)] == ["pending", "launched", "failed"]
    assert sorted(r.ok for r in got.of(TaskEnded)) == [False, True, True, True]
    assert {r.executor for r in got.of(NodeSeen)} == {"ProcessPoolExecutor"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_number_under_an_origin_of_their_own(program: Program, method: str) -> None:
    got = program.python(f"""
        import multiprocessing, heliograph
        @heliograph.task
        def work(x):
            return x
        if __name__ == "__main__":
            with heliograph.run("children"):
                work(0)
                context = multiprocessing.get_context({method!r})
                children = [context.Process(target=work, args=(x,)) for x in range(2)]
                for child in children: child.start()
                for child in children: child.join()
        """)
    assert got.code == 0, got.err
    described = got.of(TaskDescribed)
    assert [d.number for d in described] == [0, 0, 0]
    assert len({d.origin for d in described}) == 3
    assert len({r.pid for r in got.of(TaskRunning)}) == 3
    assert len(got.of(RunEnded)) == len(got.of(RunStarted)) == 1


def test_threads_share_their_process(program: Program) -> None:
    got = program.python("""
        import heliograph
        from concurrent.futures import ThreadPoolExecutor
        @heliograph.task
        def inner(x): return x
        def outer(x): return inner(x)
        with heliograph.run("threads"), heliograph.monitored(ThreadPoolExecutor(2), label="mine") as pool:
            print(sorted(pool.map(outer, range(5))))
    """)
    assert got.out == "[0, 1, 2, 3, 4]\n"
    outer = got.of(TaskDescribed, app="outer")
    assert {d.executor for d in outer} == {"mine"}
    assert len(outer) == 5
    assert {d.parent for d in got.of(TaskDescribed, app="inner")} == {d.number for d in outer}
    assert all(r.shared for r in got.of(TaskRunning))


def test_a_cancelled_future_is_told(program: Program) -> None:
    got = program.python("""
        import threading, heliograph
        from concurrent.futures import ThreadPoolExecutor
        with heliograph.run("cancel"), heliograph.monitored(ThreadPoolExecutor(1)) as pool:
            go = threading.Event()
            first, second = pool.submit(go.wait), pool.submit(print, "never")
            print(second.cancel(), second.cancelled())
            go.set()
    """)
    assert got.out == "True True\n"
    last = got.of(TaskState, number=1)[-1]
    assert (last.state, last.fail_history) == ("failed", "cancelled")
    assert got.one(RunEnded).failed == 1


def test_a_forked_child_that_leaves_the_block_does_not_end_the_run(program: Program) -> None:
    got = program.python("""
        import os, heliograph
        with heliograph.run("fork"):
            child = os.fork()
        if child:
            os.waitpid(child, 0)
    """)
    assert got.one(RunEnded)


def test_a_run_within_a_run_and_the_environment_after(program: Program) -> None:
    got = program.python("""
        import os, heliograph
        @heliograph.task
        def work(): pass
        with heliograph.run("outer") as outer:
            with heliograph.run("inner"):
                work()
            work()
        print([name for name in os.environ if name == "HELIOGRAPH_RUN"])
    """)
    assert got.out == "[]\n"
    assert sorted(r.completed or 0 for r in got.of(RunEnded)) == [1, 1]


def unusable(tmp_path: Path) -> dict[str, dict[str, str]]:
    (tmp_path / "a file").write_text("")
    return {
        "state is a file": {"HELIOGRAPH_STATE_DIR": str(tmp_path / "a file")},
        "state below a file": {"HELIOGRAPH_STATE_DIR": str(tmp_path / "a file" / "below")},
        "no such bus": {"HELIOGRAPH_BUS": "gopher://nowhere"},
        "odd run": {"HELIOGRAPH_RUN": "{"},
    }


@pytest.mark.parametrize("case", ["state is a file", "state below a file", "no such bus", "odd run"])
def test_the_program_runs_whatever_is_broken(program: Program, tmp_path: Path, case: str) -> None:
    got = program.python(POOL.replace("METHOD", "'fork'"), **unusable(tmp_path)[case])
    assert got.out == "[2, 4] 32\nValueError('three')\n", got.err
    assert got.code == 0


def test_the_program_runs_where_no_run_directory_can_be_made(program: Program) -> None:
    (program.folder / "runinfo").write_text("a file")
    got = program.python("""
        import heliograph
        with heliograph.run("nowhere") as run:
            print("done")
    """)
    assert (got.code, got.out) == (0, "done\n")
    assert "cannot be used" in got.err
    assert got.one(RunStarted).run_dir.startswith(str(program.state))


def test_a_spawned_worker_without_heliograph_just_calls(program: Program, tmp_path: Path) -> None:
    """The pickle of a submission holds no name of ours that must be importable."""
    code = """
        import pickle, sys, heliograph
        from heliograph.executors import _Traveller
        from heliograph.recording import current
        with heliograph.run("away"):
            recording = current()
            where = ({}, "o", 1, "x", False)
            sys.stdout.buffer.write(pickle.dumps((_Traveller(where, recording), pow, (2, 5))))
    """
    (program.folder / "make.py").write_text("import textwrap\n" + f"exec(textwrap.dedent({code!r}))")
    sent = subprocess.run(
        [sys.executable, "make.py"], cwd=program.folder, env=program.environ, capture_output=True, check=True
    ).stdout
    (program.folder / "heliograph").mkdir()  # hides nothing: a folder without __init__ is no module with a spec below
    lonely = "import pickle, sys; f, g, a = pickle.load(sys.stdin.buffer); print(f(g, *a), 'heliograph' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", lonely], input=sent, capture_output=True, check=False)
    assert done.stdout == b"32 False\n", done.stderr


# -- without a run, in this process ------------------------------------------------------------------------------------


@heliograph.task
def described(x: int, *, y: int = 2) -> int:
    """Its text."""
    return x + y


def test_a_task_function_stays_what_it_was() -> None:
    assert (described.__name__, described.__doc__) == ("described", "Its text.")
    assert str(inspect.signature(described)) == "(x: 'int', *, y: 'int' = 2) -> 'int'"
    assert pickle.loads(pickle.dumps(described)) is described
    assert described(1, y=5) == 6


def test_outside_of_a_run_nothing_is_written(program: Program) -> None:
    got = program.python("""
        import heliograph
        from concurrent.futures import ThreadPoolExecutor
        @heliograph.task
        def work(x): return x
        with heliograph.monitored(ThreadPoolExecutor(1)) as pool:
            print(work(1), pool.submit(work, 2).result())
    """)
    assert got.out == "1 2\n"
    assert got.records == []
    assert not program.state.exists()


def test_an_executor_is_returned_itself_and_wrapped_once() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert heliograph.monitored(pool) is pool
        submit = pool.submit
        assert heliograph.monitored(pool).submit is submit
        assert pool.submit(pow, 2, 3).result() == 8


def test_what_is_no_executor_is_given_back(caplog: pytest.LogCaptureFixture) -> None:
    assert heliograph.monitored(5) == 5
    assert "is not monitored" in caplog.text


class Reference:
    """What an executor does to a function; run once wrapped and once not."""

    def __init__(self, pool: concurrent.futures.Executor) -> None:
        self.pool = pool

    def outcomes(self) -> list[Any]:
        submit = self.pool.submit
        futures: list[Future[Any]] = [
            submit(divmod, 7, 2), submit(int, "x"), submit(dict, a=1, function=2), submit(sorted, [2, 1], reverse=True),
        ]  # fmt: skip
        found = [repr(f.exception() or f.result()) for f in futures]
        found.append(list(self.pool.map(pow, [1, 2, 3], [2, 2, 2], chunksize=2)))
        with pytest.raises(concurrent.futures.TimeoutError):
            list(self.pool.map(time.sleep, [0.5], timeout=0.05))
        unpicklable = submit(lambda: 1)
        found.append(type(unpicklable.exception()))
        self.pool.shutdown()
        with pytest.raises(RuntimeError) as refused:
            submit(pow, 1, 1)
        return [*found, str(refused.value)]


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_results_with_and_without_are_the_same(
    kind: type[concurrent.futures.Executor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"STATE_DIR": str(tmp_path / "s"), "AGENT": "off", "BUS": f"spool:{tmp_path}/spool"}.items():
        monkeypatch.setenv(f"HELIOGRAPH_{name}", value)
    plain = Reference(kind(2)).outcomes()  # type: ignore[call-arg]
    with heliograph.run("same", run_dir=tmp_path / "run"):
        watched = Reference(heliograph.monitored(kind(2))).outcomes()  # type: ignore[call-arg]
    assert watched == plain
    assert len([r for r in recorded(tmp_path / "s") if isinstance(r, TaskDescribed)]) >= 8
    assert "HELIOGRAPH_RUN" not in os.environ
