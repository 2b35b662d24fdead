"""`heliograph up` with a watch file: one more role, whose files are in the same database."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.filewatch.hosting import write_files
from tests.server.test_up import Tree


def test_up_watches_what_the_watch_file_says(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    watches = tmp_path / "watches.toml"
    watches.write_text(f"[[watch]]\nroot = '{tmp_path}/scratch'\nfiletypes = ['dat']\ninterval = 0.1\n")
    tree = Tree(tmp_path, "--watch-file", str(watches))
    try:
        tree.wait(lambda: "filewatch" in tree.children())
        write_files(tmp_path / "scratch", ["a.dat"])

        def rows() -> list[tuple[str]]:
            database = tree.data / "heliograph.db"
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
                return connection.execute("SELECT path FROM files").fetchall()

        tree.wait(lambda: rows() == [(f"{tmp_path}/scratch/a.dat",)])
        assert re.search(r"filewatch.*metrics and health on http://127", tree.log.read_text())
    finally:
        tree.process.terminate()
    assert tree.process.wait(60) == 0
