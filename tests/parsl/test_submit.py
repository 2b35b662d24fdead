"""The trampoline and its partials: what travels with a task, and that no fault of ours reaches it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from parsl.serialize import pack_apply_message

from heliograph import interrupts, journal, wrapped
from heliograph.parsl.submit import Partials, TaskIds, Trampoline, Where, wrap_submit

ROUTE = (("run_dir", ""), ("hub", None), ("sample_interval", 1.0))
WHERE = Where(run="r", route=ROUTE, executor="htex", shared=False)


def add(a: int, b: int = 0) -> int:
    return a + b


def _elsewhere(code: str, payload: bytes, path: Path | None = None) -> str:
    """Run in a fresh interpreter that has the standard library, and `path`, and nothing else."""
    head = "import pickle, sys, logging\n" + (f"sys.path.insert(0, {str(path)!r})\n" if path else "")
    program = f"{head}task = pickle.loads({payload!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _task(function: Any) -> bytes:
    return pickle.dumps(Partials(Trampoline(), WHERE).of(function))


def test_runs_plainly_where_heliograph_is_missing() -> None:
    assert _elsewhere("print(task(7, 0, [3, 1, 2]), task(8, 0, [1]))", _task(sorted)) == "[1, 2, 3] [1]"


def test_an_exception_passes_where_heliograph_is_missing() -> None:
    code = "try: task(7, 0, 'x')\nexcept ValueError as error: print(error)"
    assert "invalid literal" in _elsewhere(code, _task(int))


@pytest.mark.parametrize(
    "fault",
    [
        "raise RuntimeError('import')",
        "raise SystemExit(3)",
        "def began(*a): raise RuntimeError\ndef node_seen(*a): pass\ndef Try(*a): pass",
        "def began(*a): raise SystemExit(3)\ndef node_seen(*a): pass\ndef Try(*a): pass",
        "def node_seen(*a): raise OSError",
        "def node_seen(*a): pass\ndef Try(*a): pass\ndef began(*a): return 1\ndef ended(*a, **k): raise SystemExit(3)",
        "def node_seen(*a): pass\ndef Try(*a): pass\ndef began(*a): return 1\ndef ended(*a, **k): raise GeneratorExit",
        "def node_seen(*a): pass\ndef Try(): pass",
        "",
    ],
)
def test_a_fault_around_the_function_does_not_reach_it(tmp_path: Path, fault: str) -> None:
    package = tmp_path / "heliograph"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "wrapped.py").write_text(Path(wrapped.__file__).read_text())
    (package / "interrupts.py").write_text(Path(interrupts.__file__).read_text())
    (package / "journal.py").write_text(
        "def journal_of(run): return None\ndef journal_for(route): return None\nRoute = Journal = dict\n"
    )
    (package / "worker.py").write_text(fault)
    assert _elsewhere("print(task(7, 0, '12'))", _task(int), tmp_path) == "12"
    code = "try: task(7, 0, 'x')\nexcept ValueError as error: print('as ever')"
    assert _elsewhere(code, _task(int), tmp_path) == "as ever"


def test_the_users_own_base_exceptions_pass(state_dir: Path) -> None:
    def leaves() -> None:
        raise SystemExit(4)

    with pytest.raises(SystemExit):
        wrapped.run(leaves, WHERE.plain(), 1, 0)
    journal.close_run("r")


def test_one_partial_per_function_keeps_parsls_cache_useful() -> None:
    partials = Partials(Trampoline(), WHERE)
    assert partials.of(add) is partials.of(add)
    assert partials.of(add) is not partials.of(sorted)
    assert partials.of(add).__name__ == "add"


def test_partials_go_by_identity_and_are_bounded() -> None:
    class Same:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

        def __call__(self) -> None: ...

    partials = Partials(Trampoline(), WHERE)
    some = [Same() for _ in range(500)]
    assert [partials.of(one).args[0] for one in some] == some
    assert all(partials.of(one).args[0] is one for one in some)
    assert len(partials._kept) <= 128


def test_unhashable_callables_can_be_submitted() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> int:
            return 5

    assert callable(Partials(Trampoline(), WHERE).of(Unhashable()))


def test_the_payload_stays_small() -> None:
    plain = len(pack_apply_message(add, (1,), {}))
    ours = len(pack_apply_message(Partials(Trampoline(), WHERE).of(add), (0, 0, 1), {}))
    assert ours - plain < 900


class _Executor:
    label = "some"

    def __init__(self) -> None:
        self.got: list[Any] = []

    def submit(self, func: Any, resource_specification: dict[str, Any], *args: Any, **kwargs: Any) -> Future[Any]:
        self.got.append((func, resource_specification, args, kwargs))
        return Future()


def test_submit_adds_the_ids_once() -> None:
    executor, ids = _Executor(), TaskIds()
    assert wrap_submit(executor, ids, WHERE)
    ids.leave(7, 1)
    executor.submit(add, {"cores": 1}, 1, function=3, number=4)
    executor.submit(add, {}, 2)
    (func, spec, args, kwargs), second = executor.got
    assert isinstance(func, partial)
    assert (func.args[0], spec, args) == (add, {"cores": 1}, (7, 1, 1))
    assert kwargs == {"function": 3, "number": 4}
    assert second == (add, {}, (2,), {})


def test_an_executor_with_another_submit_is_left_alone() -> None:
    class Other(_Executor):
        def submit(self, task: Any) -> Any:  # type: ignore[override]
            return task

    executor = Other()
    assert not wrap_submit(executor, TaskIds(), WHERE)
    assert executor.submit(5) == 5


def test_an_executor_that_needs_source_text_is_left_alone() -> None:
    executor = _Executor()
    executor.source = True  # type: ignore[attr-defined]
    assert not wrap_submit(executor, TaskIds(), WHERE)
