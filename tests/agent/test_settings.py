"""What the environment and the site's file may say, and that nothing wrong in them stops anybody."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from heliograph import cli, settings


def test_a_site_file_sets_what_it_names_and_says_what_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "site.json"
    path.write_text(json.dumps({"nice": 5, "memory": "much", "process_disk": 1000, "colour": "red", "off": 0}))
    with caplog.at_level(logging.WARNING):
        found = settings.site({"HELIOGRAPH_SITE_FILE": str(path)})
    assert found == settings.Site(nice=5, process_disk=1000)
    assert found.limits().process == 1000
    assert [name for name in ("memory", "colour", "off") if name in caplog.text] == ["memory", "colour", "off"]


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"])
def test_a_broken_site_file_means_the_defaults(tmp_path: Path, content: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(content)
    assert settings.site({"HELIOGRAPH_SITE_FILE": str(path)}) == settings.Site()
    assert settings.site({"HELIOGRAPH_SITE_FILE": str(tmp_path / "none")}) == settings.Site()


def test_secrets_come_from_variables_or_files_and_stay_out_of_reprs(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hush\n")
    found = settings.bus_setting({"HELIOGRAPH_BUS": "amqp://u:pw@b/", "HELIOGRAPH_TOKEN_FILE": str(secret)})
    assert found is not None
    assert (found.bus, found.token) == ("amqp://u:pw@b/", "hush")
    assert "hush" not in repr(found)
    assert "pw" not in repr(found)
    assert settings.bus_setting({"HELIOGRAPH_BUS_FILE": str(tmp_path / "none")}) is None
    assert settings.bus_setting({}) is None


def test_the_state_folder_is_never_the_tasks_tmpdir() -> None:
    assert "task" not in str(settings.state_dir({"TMPDIR": "/task/tmp"}))
    assert settings.state_dir({"HELIOGRAPH_STATE_DIR": "/x/y"}) == Path("/x/y")


def test_a_state_folder_that_another_user_took_first_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    me, places = os.getuid(), [str(tmp_path / name) for name in ("tmp", "var", "more")]
    for place in places:
        os.mkdir(place)
    first, second, third = (Path(place) / f"heliograph-{me + 1}" for place in places)
    assert settings.default_state_dir(me + 1, places) == first
    first.mkdir()  # it is ours, so for user me + 1 it is somebody else's
    assert settings.default_state_dir(me + 1, places) == second
    assert f"{first} is not ours; {second} is used instead" in caplog.text
    second.symlink_to(tmp_path)
    assert settings.default_state_dir(me + 1, places) == third
    third.touch()
    assert settings.default_state_dir(me + 1, places) == first  # none is left, and its owner is checked
    mine = [Path(place) / f"heliograph-{me}" for place in places]
    mine[1].mkdir()
    assert settings.default_state_dir(me, places) == mine[1]  # where we were before, though the first is free now


def test_batch_jobs_are_told_apart() -> None:
    assert settings.batch_job({}) == ""
    assert settings.batch_job({"SLURM_JOB_ID": "1"}) != settings.batch_job({"SLURM_JOB_ID": "2"})


def test_the_command_knows_its_version_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert "heliograph 0" in capsys.readouterr().out
    assert cli.main([]) == 2
    assert "agent" in capsys.readouterr().out
