"""Links that come into a tree while it is watched: with `links=False`, as the service watches for others, nothing
outside of the root is reported or handed to a callback, whenever the link came."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, Watched


@pytest.fixture
def secret(place: Place) -> Path:
    """A file outside of the root, which has the name of one inside."""
    outside = place.notes / "outside"
    outside.mkdir()
    (outside / "a.dat").write_text("secret")
    return outside


def turn_into_link(place: Place, folder: str, outside: Path) -> None:
    (place.root / folder).rename(place.notes / f"{folder}-before")
    (place.root / folder).symlink_to(outside)


def test_a_folder_that_becomes_a_link_while_its_files_settle(
    place: Place, watching: Callable[..., Watched], secret: Path
) -> None:
    watched = watching(callbacks.names, links=False, settle=0.5)
    place.write("sub/a.dat")
    place.write("b.dat")
    watched.go_on(lambda: watched.engine.stats.settling == 2)
    turn_into_link(place, "sub", secret)
    watched.finish()
    assert watched.found == [str(place.root / "b.dat")]
    assert [call.paths for call in watched.calls] == [[str(place.root / "b.dat")]]


def test_a_folder_that_becomes_a_link_before_its_files_are_handed_over(
    place: Place, watching: Callable[..., Watched], secret: Path
) -> None:
    """The one place at a time is taken while the files wait."""
    watched = watching([callbacks.holds_on, callbacks.names], ["first", "sub/"], links=False, max_proc=1)
    place.write("first.dat")
    watched.go_on(lambda: list(place.notes.glob("began-*")))
    place.write("sub/a.dat")
    watched.go_on(lambda: watched.engine.stats.waiting == 1)
    turn_into_link(place, "sub", secret)
    (place.notes / "go").touch()
    assert watched.finish() == 0
    assert [call.result for call in watched.calls] == ["first.dat"]


def test_what_was_left_undone_is_not_handed_over_when_a_link_leads_there_now(
    place: Place, watching: Callable[..., Watched], secret: Path
) -> None:
    settings = {"links": False, "memory": str(place.notes / "memory.db"), "max_proc": 1}
    calls = [callbacks.holds_on, callbacks.names], ["first", "sub/"]
    before = watching(*calls, **settings)
    place.write("first.dat")
    before.go_on(lambda: list(place.notes.glob("began-*")))
    place.write("sub/a.dat")
    before.go_on(lambda: before.engine.stats.waiting == 1)
    assert before.engine.close("left") == 2
    turn_into_link(place, "sub", secret)
    (place.notes / "go").touch()
    after = watching(*calls, **settings)
    assert after.finish() == 0
    assert [(call.result, call.repeat) for call in after.calls] == [("first.dat", True)]


def test_otherwise_links_are_the_users_own(place: Place, watching: Callable[..., Watched], secret: Path) -> None:
    watched = watching(callbacks.names, settle=0.5)
    place.write("sub/a.dat")
    watched.go_on(lambda: watched.engine.stats.settling == 1)
    turn_into_link(place, "sub", secret)
    watched.finish()
    assert [call.result for call in watched.calls] == ["a.dat"]
    assert os.path.islink(place.root / "sub")
