"""Attaching a monitor: to a block of a program, to an app, to a run.

In: a monitor, and where it is opened (the run and the task that this thread is in). Out: a handle whose `end` asks the
watch to finish. Nothing here raises into the program or makes it wait: a watch that cannot be opened is one line in a
log, and a handle that does nothing.
"""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from heliograph import journal as journals
from heliograph import state, worker
from heliograph.filewatch import around
from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.monitor import FileMonitor
from heliograph.filewatch.plan import Plan, ask_to_end, ensure_warden, memory_path, put, watches_folder
from heliograph.interrupts import is_the_programs
from heliograph.recording import current
from heliograph.route import Route

_log = logging.getLogger("heliograph.filewatch")


class Handle:
    """An open watch. `place` is its folder, which goes when the watch has done all its work; None: there is none."""

    def __init__(self, place: Path | None = None, log: str = "", end: Callable[[], object] | None = None) -> None:
        self._place, self._end, self.log = place, end, log
        self._pid = os.getpid()

    def end(self) -> None:
        """The watch shall finish: takes microseconds, may be called again, never raises."""
        end, self._end = self._end, None
        if end is None or os.getpid() != self._pid:  # a forked child leaves the block, too
            return
        try:
            end()
        except FileNotFoundError:
            pass  # over already
        except Exception as error:
            if is_the_programs(error):
                raise
            _log.warning("A file watch could not be asked to end; it ends with this program: %s", error)

    @property
    def over(self) -> bool:
        return self._place is None or not self._place.exists()

    def wait(self, deadline: float | None) -> bool:
        """Until the watch is over or the monotonic clock shows this; whether it is over."""
        while not self.over:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True


def opened(monitor: FileMonitor | bytes, route: Route | None = None) -> Handle:
    """Open a watch, in the run of `route` or else the run and task that this thread is in. Never raises."""
    try:
        found: FileMonitor = pickle.loads(monitor) if isinstance(monitor, bytes) else monitor  # noqa: S301 - from us
        return _opened(found, route)
    except Exception as error:
        if is_the_programs(error):
            raise
        _log.warning("No file watch can be opened here: %s", error)
        return Handle()


def watch(monitor: FileMonitor) -> Callable[[Any], Any]:
    """Decorator: watch for files while the function runs, where it runs.

    Under or over `@python_app`; over `@bash_app`, because there the function only makes the command.
    """
    if not isinstance(monitor, FileMonitor):
        raise BadWatch("monitor", f"{monitor!r} is not a FileMonitor")

    def decorate(function: Any) -> Any:
        attribute = _apps_function(function)
        if attribute is not None:
            setattr(function, attribute, _Watched(getattr(function, attribute), monitor))
            return function
        if inspect.iscoroutinefunction(function):
            return _awaiting(function, monitor)
        return _Watched(function, monitor)

    return decorate


class _Watched:
    """Callable here; pickled so that a process without Heliograph can call the function, unwatched."""

    __slots__ = ("__dict__", "_function", "_monitor")

    def __init__(self, function: Callable[..., Any], monitor: FileMonitor) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._monitor = pickle.dumps(monitor)
        _known_to_memoization()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return around.run(self._function, self._monitor, *args, **kwargs)  # type: ignore[no-untyped-call]

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = {"text": _shipped(), "space": {}, "function": self._function, "monitor": self._monitor}
        code = "(exec(text, space), __import__('functools').partial(space['run'], function, monitor))[1]"
        return eval, (code, arguments)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


@functools.lru_cache(maxsize=1)
def _shipped() -> str:
    """The text of `around` without comments and docstrings."""
    tree = ast.parse(inspect.getsource(around))
    tree.body = tree.body[1:]
    return ast.unparse(tree)


def _apps_function(app: Any) -> str | None:
    """The attribute of a Parsl app that holds what its tasks call. None for anything else."""
    names = {cls.__name__ for cls in type(app).__mro__ if cls.__module__.startswith("parsl.")}
    if "BashApp" in names and hasattr(app, "wrapped_remote_function"):
        return "wrapped_remote_function"
    return "func" if "AppBase" in names and hasattr(app, "func") else None


def _known_to_memoization() -> None:
    """Parsl memoizes by the function's name and module; for a watched one that is those of the user's function."""
    memoization = sys.modules.get("parsl.dataflow.memoization")
    register = getattr(getattr(memoization, "id_for_memo", None), "register", None)
    if register is not None:
        register(_Watched, lambda it, output_ref=False: memoization.id_for_memo(it._function, output_ref))  # type: ignore[union-attr]


def _awaiting(function: Any, monitor: FileMonitor) -> Any:
    @functools.wraps(function)
    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        handle = opened(monitor)
        try:
            return await function(*args, **kwargs)
        finally:
            handle.end()

    return awaiting


def _opened(monitor: FileMonitor, route: Route | None) -> Handle:
    root = monitor.working_dir or os.getcwd()
    if not os.path.isdir(root):
        raise BadWatch("working_dir", f"{root!r} is not a folder that can be seen from {state.host()}")
    run, origin, number = _here() if route is None else (route, None, None)
    token = os.urandom(4).hex()
    watch_id = f"{monitor.name}-{token}" if monitor.name else token
    if monitor.where == "service":
        return _asked(monitor, watch_id=watch_id, root=root, run=run, origin=origin, number=number)
    config = monitor.config(
        watch=watch_id,
        root=root,
        cwd=os.getcwd(),
        origin=origin,
        number=number,
        session=run.run if run is not None else token,
        memory=memory_path(root, monitor.rules, monitor.name),
    )
    folder = watches_folder()
    plan = Plan(
        config=config,
        route=None if run is None else replace(run, owner=False),
        owner_pid=os.getpid(),
        owner_start=state.process_start(os.getpid()),
        linger=monitor.linger,
        log=_log_file(run, folder),
        email=monitor.email,
        webhook=monitor.webhook,
        environ=dict(os.environ),
    )
    place = put(plan, folder)
    ensure_warden(folder)
    return Handle(place, plan.log, lambda: ask_to_end(place))


def _here() -> tuple[Route | None, str | None, int | None]:
    """The run and the task that this thread is in."""
    found = worker.current_try()
    if found is not None:
        journal, try_ = found
        route = getattr(journal, "route", None)
        if isinstance(route, Route):
            return route, try_.origin, try_.number
    recording = current()
    return (journals.only_route() if recording is None else recording.route()), None, None


def _asked(
    monitor: FileMonitor, *, watch_id: str, root: str, run: Route | None, origin: str | None, number: int | None
) -> Handle:
    """Leave the watching to the service."""
    from heliograph.filewatch import request

    if run is None:
        raise BadWatch("where", "'service' needs a run that Heliograph records")
    journal = journals.journal_for(replace(run, owner=False))
    names = ["" if rule.callback is None else rule.callback.name for rule in monitor.rules]
    request.ask(
        journal,
        watch=watch_id,
        root=root,
        patterns=[text for rule in monitor.rules for text in rule.patterns],
        filetypes=[],
        path=None,
        callbacks=names if any(names) else [],
        email=monitor.email,
        webhook=monitor.webhook,
        interval=monitor.interval,
        settle=monitor.settle,
        timeout=monitor.timeout,
        on_change=monitor.on_change,
        origin=origin,
        number=number,
    )
    return Handle(None, "", lambda: request.withdraw(journal, watch_id, "ended"))


def _log_file(run: Route | None, folder: Path) -> str:
    """Beside the run's other logs, where that can be written; else in the state folder."""
    if run is not None and run.run_dir and os.access(run.run_dir, os.W_OK | os.X_OK):
        return os.path.join(run.run_dir, "heliograph-watch.log")
    return str(folder / "watch.log")
