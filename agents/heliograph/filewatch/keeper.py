"""The process of one callback, and the one that keeps an eye on it: `python keeper.py FD`.

In: on standard input (a file) the call, as `calls` writes it; a pipe that ends with the engine. Out: on standard output
how it ended, and the result's text. The keeper leads a process group of its own and runs nothing of the user's; its
child calls the callback. When the callback has ended, its time is up or the engine is gone, the whole group is killed,
the keeper with it.

It starts for every callback, beside somebody's tasks, so it stands alone: importing our packages, dataclasses and the
like would take three times the processor time of all the rest.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    del sys.path[0]  # where our modules have names that the user's may have, too

import marshal
import select
import signal
import time
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 16384
"""Characters of a result that are kept."""
OUTCOMES = frozenset({"ok", "error", "timeout", "killed", "unprintable"})
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main(life: int) -> None:
    """Never returns: ends by killing its own group, the child by ending as a program does."""
    call: dict[str, Any] = marshal.load(sys.stdin.buffer)  # noqa: S302 - the engine wrote it, into a nameless file
    out = os.dup(1)
    os.dup2(2, 1)  # what the callback prints goes to the log
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _die_with_parent(signal.SIGTERM)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for handle in (life, wake, woken):
            os.close(handle)
        _die_with_parent(signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        _call(call, out)
        return
    try:
        _keep(child, life, wake, out, call["timeout"])
    finally:
        os.killpg(0, signal.SIGKILL)


def function_of(kind: str, name: str, payload: bytes, search: tuple[str, ...]) -> Any:
    """The callback's function, in the process that calls it. Raises whatever its modules raise."""
    for folder in search:
        if folder not in sys.path:
            sys.path.append(folder)
    return imported(name) if kind == "name" else import_module(kind).loads(payload)


def imported(name: str) -> Any:
    """What 'package.module:function' names. Raises whatever its module raises."""
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _keep(child: int, life: int, wake: int, out: int, timeout: float | None) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            _tell(out, "timeout", f"not done after {timeout:g} s")
            return
        ready, _, _ = select.select([life, wake], [], [], left)
        if life in ready:
            return  # the engine is gone
        if wake in ready and signal.SIGTERM in os.read(wake, 512):
            return
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            _tell(out, "killed", _how(os.waitstatus_to_exitcode(status)))
            return


def _call(call: dict[str, Any], out: int) -> None:
    """In the child. What the callback did stands on the pipe before this program ends."""
    try:
        os.chdir(call["cwd"])
    except OSError as error:
        _tell(out, "error", f"the callback's working directory cannot be entered: {error}")
        return
    if call["kind"] == "command":
        _tell(out, *_command(call["argv"], call["files"]))
        return
    try:
        result = function_of(call["kind"], call["name"], call["payload"], call["search"])(call["files"])
    except BaseException as error:
        import traceback

        trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
        _tell(out, "error", "".join(traceback.format_exception(type(error), error, trace)))
        return
    if result is None:
        _tell(out, "ok", None)
        return
    try:
        text = str(result)
    except BaseException as error:
        _tell(out, "unprintable", f"str() of a {type(result).__name__} raised {type(error).__name__}: {_text(error)}")
        return
    _tell(out, "ok", text)


def _command(argv: tuple[str, ...], files: list[str]) -> tuple[str, str | None]:
    import subprocess

    words = [word for part in argv for word in (files if part == "{}" else [part])]
    if "{}" not in argv:
        words += files
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    except (OSError, ValueError) as error:
        return "error", f"{argv[0]} cannot be started: {error}"
    printed = done.stdout[: 4 * LIMIT].decode("utf-8", "replace")
    if done.returncode:
        return "error", f"{argv[0]}: {_how(done.returncode)}\n{printed}"
    return "ok", printed or None


def _tell(out: int, outcome: str, text: str | None) -> None:
    """The outcome and the number of the text's bytes ('-' for none) on a line, and the text. The first one counts, so
    who ended later says nothing."""
    raw = b"" if text is None else _cut(text).encode("utf-8", "replace")
    data = f"{outcome} {'-' if text is None else len(raw)}\n".encode() + raw
    try:
        while data:
            data = data[os.write(out, data) :]
    except OSError:
        pass  # nobody listens any more


def _cut(text: str) -> str:
    text = str.__str__(text)  # of a subclass only what it holds
    if len(text) <= LIMIT:
        return text
    half = LIMIT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters cut …\n{text[-half:]}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(unprintable)"


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _die_with_parent(number: signal.Signals) -> None:
    """prctl(2); where there is none (macOS), the pipe alone tells of the engine's end."""
    try:
        import ctypes

        prctl: Any = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_DEATH_SIGNAL, int(number), 0, 0, 0)
    except (ImportError, OSError, AttributeError, ValueError):
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
