"""`FileMonitor`: bad input gets a clear error that names the argument, and what is good can be sent anywhere."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import heliograph
from heliograph import FileMonitor
from heliograph.filewatch.config import BadWatch, Callback
from heliograph.filewatch.keeper import function_of
from heliograph.filewatch.portable import portable
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place

ROOT = Path(__file__).parents[2]


def bad(**more: Any) -> BadWatch:
    with pytest.raises(BadWatch) as caught:
        FileMonitor(**{"callback": callbacks.names, "pattern": "x", **more})
    return caught.value


@pytest.mark.parametrize(
    ("argument", "more", "words"),
    [
        ("pattern", {"pattern": "("}, "is not a regular expression"),
        ("pattern", {"pattern": ["fine", r"(?<=x*)"]}, "is not a regular expression"),
        ("pattern", {"pattern": 7}, "neither a text nor a list"),
        ("pattern", {"pattern": [7]}, "is not a text"),
        ("pattern", {"pattern": None}, "nothing to look for"),
        ("pattern", {"pattern": []}, "nothing to look for"),
        ("filetype", {"filetype": "*"}, "not a suffix"),
        ("filetype", {"filetype": ["a/b"]}, "not a suffix"),
        ("filetype", {"filetype": ["data*.gif"]}, "not a suffix"),
        ("path", {"filetype": "gif", "path": "../elsewhere"}, "not below"),
        ("path", {"filetype": "gif", "path": "/elsewhere"}, "not below"),
        ("path", {"path": "images"}, "before file types"),
        ("callback", {"callback": [callbacks.names] * 2}, "2 callbacks for 1 patterns"),
        ("callback", {"callback": [callbacks.names] * 2, "pattern": ["a", "b", "c"]}, "one for all, or one for each"),
        ("callback", {"callback": "no_such_module_here:f"}, "cannot be imported"),
        ("callback", {"callback": "tests.filewatch.callbacks:missing"}, "cannot be imported"),
        ("callback", {"callback": "tests.filewatch.callbacks"}, "not of the form"),
        ("callback", {"callback": "os:sep"}, "is not a function"),
        ("callback", {"callback": 7}, "neither a function"),
        ("callback[0]", {"callback": [(callbacks.names, "a", "b")], "pattern": None}, "not a (callback, pattern) pair"),
        ("pattern", {"callback": [(callbacks.names, "a")]}, "pairs already"),
        ("working_dir", {"working_dir": "/no/such/folder"}, "not a folder that can be seen from here"),
        ("working_dir", {"working_dir": 7}, "not a path"),
        ("email", {"email": "nobody"}, ""),
        ("webhook", {"webhook": "ftp://example.org"}, ""),
        ("sleep_dur", {"sleep_dur": -1}, "seconds"),
        ("sleep_dur", {"sleep_dur": float("nan")}, "seconds"),
        ("interval", {"interval": "10"}, "seconds"),
        ("settle", {"settle": -0.1}, "seconds"),
        ("timeout", {"timeout": 0}, "seconds"),
        ("linger", {"linger": True}, "seconds"),
        ("max_proc", {"max_proc": 0}, "number of processes"),
        ("max_proc", {"max_proc": 2.5}, "number of processes"),
        ("name", {"name": "x" * 101}, "at most 100"),
        ("where", {"where": "there"}, "neither"),
        ("callback", {"where": "service", "callback": lambda files: None}, "cannot be imported by the service"),
    ],
)
def test_bad_arguments_are_named(argument: str, more: dict[str, Any], words: str) -> None:
    error = bad(**more)
    assert error.argument == argument
    assert str(error).startswith(f"{argument}: ")
    assert words in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_cannot_be_sent_to_another_process_is_said() -> None:
    generator = (number for number in range(3))
    error = bad(callback=lambda files: next(generator))
    assert error.argument == "callback"
    assert "cannot be sent to another process" in str(error)
    assert "lambda" in str(error)


def test_a_hub_takes_no_other_thing_for_a_monitor() -> None:
    from heliograph.parsl import MonitoringHub

    with pytest.raises(TypeError, match="file_monitor"):
        MonitoringHub(file_monitor="*.dat")  # type: ignore[arg-type]


class Adder:
    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, files: list[str]) -> int:
        return len(files) + self.more

    def add(self, files: list[str]) -> int:
        return len(files) + self.more


def _function_of(made: Callback) -> Any:
    return function_of(made.kind, made.name, made.payload, made.search)


def test_callbacks_that_can_be_imported_go_by_name() -> None:
    made = portable(callbacks.names)
    assert (made.kind, made.name) == ("name", "tests.filewatch.callbacks:names")
    assert portable("os.path:basename").name == "os.path:basename"
    assert _function_of(made) is callbacks.names


@pytest.mark.parametrize(
    "callback",
    [Adder(2), Adder(2).add, functools.partial(lambda more, files: len(files) + more, 2), lambda files: len(files) + 2],
    ids=["object", "method", "partial", "lambda"],
)
def test_other_callbacks_go_by_value(callback: Any) -> None:
    made = pickle.loads(pickle.dumps(portable(callback)))
    assert _function_of(made)(["a"]) == 3
    assert made.name.startswith("tests.filewatch.test_monitor:")


def test_functions_of_a_script_run_in_another_process(place: Place) -> None:
    """With what they use of the script; dill, which Parsl brings, takes it along."""
    script = place.notes / "script.py"
    script.write_text(
        "import sys\nfrom heliograph import FileMonitor\nFACTOR = 6\n"
        "def times(number):\n    return FACTOR * number\n"
        "def count(files):\n    return times(7 * len(files))\n"
        "with FileMonitor(count, 'dat$', working_dir=sys.argv[1], sleep_dur=0.1) as monitor:\n"
        "    open(sys.argv[1] + '/a.dat', 'w').write('x')\n"
        "assert monitor.wait(30)\nprint(open(monitor.log).read())\n"
    )
    ran = subprocess.run(
        [sys.executable, script, place.root], cwd=place.notes, capture_output=True, text=True, check=False
    )
    assert "'result': '42'" in ran.stdout, ran.stdout + ran.stderr


def test_the_documented_example_does_what_it_says(place: Place) -> None:
    text = (ROOT / "docs" / "howto" / "watch-files.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0].replace("sleep_dur=10", "sleep_dur=0.1")
    (place.root / "images").mkdir()
    (place.root / "images" / "last.png").touch()
    script = place.notes / "script.py"
    text = "(open(monitor.log).read() if os.path.exists(monitor.log) else '')"
    both = f"import os, time\nwhile {text}.count('watch.closed') < 2: time.sleep(0.05)\n"
    script.write_text(f"{code}\n{both}assert monitor.wait(30)\nprint(open(monitor.log).read())\n")
    ran = subprocess.run(
        [sys.executable, script], cwd=place.root, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout.count("file.found") == 4, ran.stdout + ran.stderr
    assert "step 0" in ran.stdout
    assert "'outcome': 'ok'" in ran.stdout


def test_a_monitor_can_be_sent_and_shows_no_secret() -> None:
    monitor = FileMonitor(lambda files: 1, "x", filetype=["gif"], webhook="https://example.org/hook?token=secret")
    arrived = pickle.loads(pickle.dumps(monitor))
    assert arrived.rules == monitor.rules
    assert "secret" not in repr(arrived)


def test_a_watched_function_is_the_same_to_its_callers(place: Place) -> None:
    @heliograph.watch(FileMonitor(None, r"\.dat$", working_dir=place.root, sleep_dur=0.1))
    def write(name: str, *, text: str = "x") -> str:
        """Writes."""
        return place.write(name, text)

    assert write("a.dat", text="y") == str(place.root / "a.dat")
    assert (write.__name__, write.__doc__) == ("write", "Writes.")
    with pytest.raises(TypeError, match="unexpected keyword"):
        write(nothing="like that")


def test_a_watched_function_runs_where_heliograph_is_not(place: Place) -> None:
    """What Parsl sends to a worker does not need us there."""
    watched = heliograph.watch(FileMonitor(None, "x", working_dir=place.root))(os.path.basename)
    shipped = place.notes / "shipped"
    shipped.write_bytes(pickle.dumps(watched))
    (place.notes / "heliograph").mkdir()
    (place.notes / "heliograph" / "__init__.py").write_text("raise ImportError('not installed here')\n")
    code = f"import pickle; print(pickle.load(open({str(shipped)!r}, 'rb'))('/a/b'))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(place.notes)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == "b", ran.stderr
    assert "not installed here" in ran.stderr
