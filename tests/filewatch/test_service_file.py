"""The watch file: watches of the operator's own, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from heliograph_filewatch.admit import Refused
from heliograph_filewatch.config import BadWatchFile, Limits, load
from heliograph_filewatch.kept import Kept
from heliograph_filewatch.own import OwnRuns
from tests.filewatch.hosting import Filewatch, Site, write_files
from tests.filewatch.service_fixtures import root, service, site

__all__ = ["root", "service", "site"]


def test_the_watch_file_has_watches_of_its_own_under_a_run_of_their_own(
    service: Filewatch, site: Site, root: Path
) -> None:
    service.file.write_text(f"""
[[watch]]
name = "plots"
run = "nightly"
root = "{root}"
filetypes = ["*.png"]
patterns = ['\\.log$']
callbacks = ["jobs:names", ["ls", "-1"]]
interval = 0.1
""")
    service.start()
    write_files(root, ["a.png", "b.log"])
    run = service.wait(lambda: next(iter(site.runs("nightly")), None))
    service.wait(lambda: len(site.callbacks(run)) == 2)
    done = {c.callback: (c.outcome, c.result) for c in site.callbacks(run)}
    assert done == {"jobs:names": ("ok", "b.log"), "ls": ("ok", f"{root}/a.png\n")}
    assert service.stop() == 0
    service.start()
    write_files(root, ["c.log"])
    service.wait(lambda: len(site.callbacks(run)) == 3)
    assert len(site.runs("nightly")) == 1
    service.stop()
    service.file.write_text("")
    service.start()
    service.wait(lambda: site.closed(run) == ["it is not in the watch file any more"])
    service.wait(lambda: site.ended(run))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[allow", "is not a TOML file"),
        ("[allow]\nroots = ['scratch']", "'scratch' is not an absolute path"),
        ("[allow]\nfolders = ['/x']", "folders"),
        ("[[watch]]\nroot = '/tmp'\npatterns = ['(']", "'(' is not a regular expression"),
        ("[[watch]]\nroot = '/tmp'\npatterns = ['x']\nemail = 'nobody'", "email"),
        ("[limits]\nwatches = 0", "limits.watches must be more than 0"),
        ("[[watch]]\nroot='/a'\nname='x'\n[[watch]]\nroot='/b'\nname='x'", "two watches"),
    ],
)
def test_a_watch_file_that_cannot_be_is_said_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "watches.toml"
    file.write_text(text)
    with pytest.raises((BadWatchFile, Refused)) as caught:
        OwnRuns(Kept(tmp_path / "state"), load(file)).jobs()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_documented_watch_file_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "file-watch-service.md"
    (tmp_path / "watches.toml").write_text(page.read_text().split("```toml\n")[1].split("```")[0])
    found = load(tmp_path / "watches.toml")
    assert found.limits == Limits()
    (job,) = OwnRuns(Kept(tmp_path / "state"), found).jobs().values()
    assert [rule.callback.kind for rule in job.config.rules if rule.callback] == ["name", "command"]
