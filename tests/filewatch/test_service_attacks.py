"""The file-watch service beside those who mean harm: what is not allowed is refused, and what is taken has bounds."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from heliograph.bus import Outgoing, open_dead_letters, open_publisher
from heliograph.messages import Class
from heliograph_filewatch.host import _SECRET
from heliograph_server.settings import PREFIX, SECRETS
from tests.filewatch.hosting import Filewatch, Site, write_files
from tests.filewatch.service_fixtures import allowing, root, service, site

__all__ = ["root", "service", "site"]


def test_callbacks_see_none_of_our_secrets(tmp_path: Path, site: Site, service: Filewatch, root: Path) -> None:
    service._variables["HELIOGRAPH_SMTP_PASSWORD"] = "secret-word"
    site.begin("r")
    site.ask("r", root, callbacks=["jobs:secrets"])
    write_files(root, ["a.dat"])
    service.start()
    (done,) = service.wait(lambda: site.callbacks("r"))
    assert done.outcome == "ok"
    assert not {"HELIOGRAPH_SMTP_PASSWORD", "HELIOGRAPH_BUS", "HELIOGRAPH_DATABASE"} & set(
        (done.result or "").split(",")
    )


def test_every_secret_of_the_server_is_kept_from_callbacks() -> None:
    """`heliograph up` hands all of its environment to the roles."""
    assert all(f"{PREFIX}{name.upper()}".startswith(_SECRET) for name in SECRETS)


def test_what_is_not_allowed_is_refused_recorded_and_counted(
    service: Filewatch, site: Site, root: Path, tmp_path: Path
) -> None:
    site.begin("r")
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    write_files(tmp_path / "elsewhere", ["secret.dat"])
    bad: dict[str, dict[str, object]] = {
        "outside": {"root": tmp_path / "elsewhere"},
        "dots": {"root": f"{root}/../elsewhere"},
        "link": {"root": root / "link"},
        "callback": {"callbacks": ["os:system"]},
        "mail": {"email": "eve@evil.example"},
        "hook": {"webhook": "http://169.254.169.254/"},
        "giant": {"patterns": ["x" * 100_000]},
    }
    for watch, wanted in bad.items():
        site.ask("r", **{"root": root, "watch": watch, **wanted})
    site.ask("r", root, "good", callbacks=["jobs:names"])
    service.start()
    service.wait(lambda: len(site.closed("r")) == len(bad))
    reasons = {w.watch: w.reason or "" for w in site.watches("r") if w.closed is not None}
    assert set(reasons) == set(bad)
    assert all(reason.startswith("refused: ") for reason in reasons.values())
    assert "allow.roots" in reasons["outside"]
    assert "allow.callbacks" in reasons["callback"]
    write_files(root, ["a.dat", "link-to.dat"])
    (root / "sly.dat").symlink_to(tmp_path / "elsewhere" / "secret.dat")
    service.wait(lambda: len(site.files("r")) >= 2)
    assert {f.watch for f in site.files("r")} == {"good"}
    assert not [f.path for f in site.files("r") if "sly" in f.path or "secret" in f.path]
    assert service.metric('requests_total{outcome="refused"}') == len(bad)
    assert service.metric('requests_total{outcome="accepted"}') == 1


def test_nobody_takes_all_the_room(service: Filewatch, site: Site, root: Path) -> None:
    service.file.write_text(allowing(root, "watches = 3\nwatches_per_run = 2"))
    for run in ("r", "s"):
        site.begin(run)
    for number in range(3):
        site.ask("r", root, f"w{number}")
    service.start()
    (reason,) = service.wait(lambda: site.closed("r"))
    assert reason == "refused: this service takes 2 watches of one run"
    site.ask("s", root, "first")
    site.ask("s", root, "second")
    (reason,) = service.wait(lambda: site.closed("s"))
    assert reason == "refused: this service watches for 3 requests already"
    assert len(service.hosts()) == 3
    with urllib.request.urlopen(f"{service.url()}/healthz", timeout=10) as answer:
        assert answer.status == 200


def test_an_expression_that_never_ends_costs_its_own_watch_and_nothing_else(
    service: Filewatch, site: Site, root: Path
) -> None:
    service.file.write_text(allowing(root, "step_cpu = 0.5"))
    site.begin("r")
    site.ask("r", root, "evil", patterns=[r"^(a+)+$"])
    site.ask("r", root, "good", patterns=["!"])
    write_files(root, ["a" * 60 + "!"])
    service.start()
    (reason,) = service.wait(lambda: site.closed("r"))
    assert "processor time" in reason
    service.wait(lambda: site.files("r"))
    assert {f.watch for f in site.files("r")} == {"good"}
    assert service.metric("runaway_total") == 1


def test_expressions_that_cannot_be_compiled_cost_their_own_watch_and_nothing_else(
    service: Filewatch, site: Site, root: Path
) -> None:
    """Some take seconds to compile, which the service itself leaves to the watch's process."""
    service.file.write_text(allowing(root, "step_cpu = 0.5"))
    site.begin("r")
    site.ask("r", root, "broken", patterns=["("])
    site.ask("r", root, "costly", patterns=[f"(?i){number}" + "[\x00-\U0010ffff]" * 45 for number in range(50)])
    site.ask("r", root, "good", patterns=["!"])
    write_files(root, ["a!"])
    service.start()
    service.wait(lambda: len(site.closed("r")) == 2)
    reasons = {w.watch: w.reason or "" for w in site.watches("r") if w.closed is not None}
    assert (
        reasons["broken"] == "cannot be watched: pattern: '(' is not a regular expression: missing ), "
        "unterminated subpattern at position 0"
    )
    assert "processor time" in reasons["costly"]
    service.wait(lambda: site.files("r"))
    assert service.metric("runaway_total") == 1
    assert service.metric('requests_total{outcome="accepted"}') == 3


def test_a_root_that_becomes_a_link_is_not_followed(service: Filewatch, site: Site, root: Path, tmp_path: Path) -> None:
    (root / "mine").mkdir()
    site.begin("r")
    site.ask("r", root / "mine")
    service.start()
    service.wait(lambda: site.watches("r"))
    write_files(tmp_path / "elsewhere", ["secret.dat"])
    (root / "mine").rename(root / "before")
    (root / "mine").symlink_to(tmp_path / "elsewhere")
    (reason,) = service.wait(lambda: site.closed("r"))
    assert "not the folder any more" in reason
    assert site.files("r") == []


def test_what_is_no_request_is_put_aside(service: Filewatch, site: Site) -> None:
    service.start()
    publisher = open_publisher(site.bus, name="evil")
    publisher.publish([Outgoing(run="r", cls=Class.COMMANDS, body=b"rubbish")])
    dead = open_dead_letters(site.bus)
    service.wait(lambda: dead.count() == 1)
    (letter,) = dead.list()
    assert (letter.route, letter.body) == ("commands.r", b"rubbish")
    assert "not a batch" in letter.reason
