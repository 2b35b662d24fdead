"""Log tails: what lies under an allowed root is shown, and nothing else, however the path tries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heliograph_dashboard.tail import MAX_BYTES, MAX_LINE, MAX_LINES, NotShown, Tail, readable, tail


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "logs"


def shown(path: Path | str, *roots: Path) -> Tail:
    found = tail(str(path), roots, owner=None)
    assert isinstance(found, Tail), found
    return found


def refused(path: Path | str, *roots: Path, owner: str | None = None) -> str:
    found = tail(str(path), roots, owner=owner)
    assert isinstance(found, NotShown), found
    return found.reason


def test_the_end_of_a_file_under_a_root(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "out.txt").write_text("one\ntwo\n")
    found = shown(root / "a" / "out.txt", root)
    assert (found.text, found.size, found.cut) == ("one\ntwo", 8, False)


def test_a_link_within_the_root_is_followed_and_one_out_of_it_is_not(root: Path) -> None:
    (root / "out.txt").write_text("fine")
    (root / "good").symlink_to(root / "out.txt")
    (root / "bad").symlink_to(root.parent / "secret.txt")
    (root / "folder").symlink_to(root.parent)
    assert shown(root / "good", root).text == "fine"
    for path in (root / "bad", root / "folder" / "secret.txt", root / ".." / "secret.txt", root.parent / "secret.txt"):
        assert "outside" in refused(path, root)


def test_whether_a_file_is_there_is_told_only_of_allowed_folders(root: Path) -> None:
    assert refused(root.parent / "secret.txt", root) == refused(root.parent / "not-there.txt", root)
    assert "no such file" in refused(root / "not-there.txt", root)


def test_a_root_that_only_begins_alike_is_another_folder(root: Path) -> None:
    other = root.with_name("logs-of-others")
    other.mkdir()
    (other / "x").write_text("x")
    assert "outside" in refused(other / "x", root)


def test_a_root_behind_a_link_works(root: Path) -> None:
    (root / "x").write_text("x")
    link = root.with_name("link")
    link.symlink_to(root)
    assert shown(link / "x", link).text == "x"
    assert shown(root / "x", link).text == "x"


def test_a_link_that_takes_the_place_of_a_folder_after_the_check_leads_nowhere(root: Path) -> None:
    """The race between resolving and opening: what was resolved is opened without following a single link."""
    from heliograph_dashboard.tail import _opened

    (root / "a").symlink_to(root.parent)
    (root / "b").symlink_to(root.parent / "secret.txt")
    for parts in (["a", "secret.txt"], ["b"]):
        assert isinstance(_opened(str(root), parts, None), NotShown)


def test_what_is_no_regular_file_is_not_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    for name in ("pipe", "folder"):
        assert "regular" in refused(root / name, root)
    assert "outside" in refused(root, root)


def test_a_file_of_somebody_else_is_not_shown(root: Path) -> None:
    # Root-owned files exist on every machine; as root, a file is given away instead.
    path = root / "theirs"
    path.write_text("theirs")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        assert "belongs" in refused(path, root)
        assert "belongs" in refused(path, root, owner="no-such-user-here")
    else:
        assert "belongs" in refused("/etc/hostname", Path("/etc"), owner="no-such-user-here")
        assert isinstance(tail("/etc/hostname", [Path("/etc")], owner="root"), Tail)


@pytest.mark.parametrize("path", ["out.txt", "", "/no/such/file", "/tmp/a\0b", "/" + "x" * 5000, "('out', 'w')"])
def test_paths_that_lead_nowhere_have_a_reason(path: str, root: Path) -> None:
    assert refused(path, root)


def test_without_roots_nothing_is_looked_at(root: Path) -> None:
    (root / "x").write_text("x")
    assert "no folder" in refused(root / "x")


def test_only_the_end_of_a_large_file_is_read(root: Path) -> None:
    with (root / "large").open("wb") as file:
        file.truncate(10 << 30)  # sparse
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast line\n")
    found = shown(root / "large", root)
    assert found.text == "last line"
    assert found.cut
    assert len(found.text) < MAX_BYTES


def test_text_is_made_readable() -> None:
    assert readable(b"a\r\nb\rc\n", cut=False) == ("a\nb\nc", False)
    assert readable(b"\x1b[31mred\x00\xff<b>", cut=False) == ("␛[31mred␀�<b>", False)
    assert readable(b"half\nwhole\n", cut=True) == ("whole", True)
    assert readable(b"one endless line", cut=True) == ("one endless line", True)
    assert readable("\u202eevil".encode(), cut=False) == ("�evil", False)
    assert readable(b"", cut=False) == ("", False)


def test_lines_are_bounded_in_length_and_number() -> None:
    text, cut = readable(b"x" * 5000 + b"\n" + b"y\n" * 3, cut=False)
    assert text.split("\n")[0] == "x" * MAX_LINE + f"… (+{5000 - MAX_LINE})"
    assert not cut
    text, cut = readable(b"z\n" * 5000, cut=False)
    assert text.count("\n") == MAX_LINES - 1
    assert cut


def test_a_relative_path_is_looked_for_in_the_run_directory_and_where_the_run_began(root: Path) -> None:
    run_dir = root / "runinfo" / "000"
    run_dir.mkdir(parents=True)
    (run_dir / "a.txt").write_text("in the run directory")
    (root / "b.txt").write_text("where it began")

    def found(path: str, *roots: Path, run_dir: str | None = str(run_dir)) -> Tail | NotShown:
        return tail(path, roots, owner=None, run_dir=run_dir)

    a, b = found("a.txt", root), found("b.txt", root)
    assert isinstance(a, Tail)
    assert (a.text, a.path) == ("in the run directory", str(run_dir / "a.txt"))
    assert isinstance(b, Tail)
    assert (b.text, b.path) == ("where it began", str(root / "b.txt"))
    for refused in (found("c.txt", root), found("../../../secret.txt", root), found("b.txt", run_dir)):
        assert isinstance(refused, NotShown)
    for unknown in (None, "", "runinfo/000"):
        assert found("a.txt", root, run_dir=unknown) == NotShown(
            reason="The path is relative to a folder that was not recorded."
        )
