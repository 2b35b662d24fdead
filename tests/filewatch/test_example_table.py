"""Every row of the documentation's example, and the erratum in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heliograph.filewatch.match import Matcher
from heliograph.filewatch.rules import rules_of
from tests.filewatch.callbacks import names, nothing
from tests.filewatch.conftest import Place, Watched

FILES = [
    "images/composite.gif",
    "images/rgb.png",
    "output/results-psi.txt",
    "output/results-temperature.txt",
    "output/results-psi.gif",
    "output/results-info.dat",
]
PATTERNS = [r"(?<=-)\d{2}info\.dat", r"results-(\S+)\.txt"]
FILETYPES = ["*.gif", "*.jpg"]


def c1(files: list[str]) -> str:
    return f"c1 {sorted(files)}"


def c2(files: list[str]) -> str:
    return f"c2 {sorted(files)}"


def c3(files: list[str]) -> str:
    return f"c3 {sorted(files)}"


def c4(files: list[str]) -> str:
    return f"c4 {sorted(files)}"


def test_the_documented_table(place: Place, watching: Callable[..., Watched]) -> None:
    for name in [*FILES, "output/results-07info.dat"]:
        place.write(name)
    watch = watching([c1, c2, c3, c4], PATTERNS, FILETYPES, path="images")
    assert watch.finish() == 0
    root = place.root
    assert sorted(call.result or "" for call in watch.calls) == [
        f"c1 {[f'{root}/output/results-07info.dat']}",
        f"c2 {[f'{root}/output/results-psi.txt', f'{root}/output/results-temperature.txt']}",
        f"c3 {[f'{root}/images/composite.gif']}",
    ]
    assert all(not path.endswith(("results-psi.gif", "rgb.png")) for path in watch.found)


def test_erratum_the_expression_does_not_match_the_documented_file(
    place: Place, watching: Callable[..., Watched]
) -> None:
    """`(?<=-)\\d{2}info\\.dat` needs two digits before `info.dat`, which `results-info.dat` does not have."""
    for name in FILES:
        place.write(name)
    watch = watching([c1, c2, c3, c4], PATTERNS, FILETYPES, path="images")
    assert watch.finish() == 0
    assert {call.callback.rpartition(":")[2] for call in watch.calls} == {"c2", "c3"}
    assert f"{place.root}/output/results-info.dat" not in watch.found


@pytest.mark.parametrize("filetype", ["gif", ".gif", "*.gif"])
@pytest.mark.parametrize(
    ("path", "name", "wanted"),
    [
        (None, "a.gif", True),
        (None, "deep/down/a.gif", True),
        (None, "a.gif.txt", False),
        (None, "agif", False),
        (None, ".gif", False),
        (None, "a.gif\n", False),
        ("images", "images/a.gif", True),
        ("images", "images/deep/a.gif", True),
        ("images/", "images/a.gif", True),
        ("./images", "images/a.gif", True),
        ("images", "a.gif", False),
        ("images", "other/images/a.gif", False),
        ("images", "imagesX/a.gif", False),
        ("/scr/run1/images", "images/a.gif", True),
        ("im.ges", "images/a.gif", False),
    ],
)
def test_file_types(filetype: str, path: str | None, name: str, wanted: bool) -> None:
    rules = rules_of(nothing, None, filetype, path, root="/scr/run1")
    assert bool(Matcher(rules)(name)) is wanted


def test_patterns_come_first_and_so_do_their_callbacks() -> None:
    rules = rules_of([c1, c2], [r"\.txt$"], ["gif"], None, root="/")
    assert [(rule.callback.name.rpartition(":")[2] if rule.callback else "") for rule in rules] == ["c1", "c2"]
    assert Matcher(rules)("a.txt") == [(0, r"\.txt$")]


def test_one_callback_for_everything_gets_each_file_once(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.txt")
    place.write("b.gif")
    watch = watching(names, ["a", r"\.txt$"], ["gif"])
    assert watch.finish() == 0
    assert [call.result for call in watch.calls] == ["a.txt b.gif"]


def test_the_later_form_is_a_list_of_pairs(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.txt")
    place.write("b.gif")
    watch = watching([(c1, r"\.txt$"), (c2, r"\.gif$")], None)
    assert watch.finish() == 0
    assert sorted(call.result or "" for call in watch.calls) == [
        f"c1 {[f'{place.root}/a.txt']}",
        f"c2 {[f'{place.root}/b.gif']}",
    ]
