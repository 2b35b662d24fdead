"""Requests come from the network: what the configuration does not allow is refused, and what it allows is bounded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.match import Matcher
from heliograph.messages import WatchStart
from heliograph_filewatch.admit import Job, Refused, admit_request
from heliograph_filewatch.config import Allow, Limits

HOOK = "https://hooks.example.org/services"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    folder.mkdir()
    return folder


def asked(root: Path | str, **changes: Any) -> WatchStart:
    return WatchStart(**{"at": 1, "watch": "w", "root": str(root), "patterns": ["dat$"], **changes})


def admit(root: Path, request: WatchStart, **limits: Any) -> Job:
    allow = Allow(
        roots=[os.path.realpath(root)],
        callbacks=["jobs:names", "plots.movie:*"],
        emails=["ada@example.org", "@lab.example"],
        webhooks=[HOOK],
    )
    return admit_request(request, "r", allow, Limits(**limits), memory=root / "memory.db")


def refused(root: Path, request: WatchStart, **limits: Any) -> str:
    with pytest.raises(Refused) as caught:
        admit(root, request, **limits)
    assert len(str(caught.value)) < 2000
    return str(caught.value)


def test_what_is_allowed_is_watched_within_limits(root: Path) -> None:
    (root / "run1").mkdir()
    job = admit(
        root,
        asked(
            root / "run1",
            filetypes=["*.gif"],
            path="images",
            callbacks=["jobs:names", "plots.movie:make"],
            email="bob@lab.example",
            webhook=f"{HOOK}/T1?key=x",
            interval=0.001,
            timeout=1e6,
            origin="parsl",
            number=3,
        ),
    )
    config = job.config
    assert config.root == str(root / "run1")
    assert [rule.callback.name for rule in config.rules if rule.callback] == ["jobs:names", "plots.movie:make"]
    assert (config.interval, config.settle, config.timeout, config.max_proc) == (5.0, 5.0, 3600.0, 1)
    assert not config.links
    assert (config.origin, config.number) == ("parsl", 3)
    assert (job.email, job.webhook) == ("bob@lab.example", f"{HOOK}/T1?key=x")
    some = admit(root, asked(root, patterns=["a", "b"], callbacks=["jobs:names", ""]))
    assert [rule.callback is None for rule in some.config.rules] == [False, True]


def test_roots_are_taken_for_what_they_really_are(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "allowed-not").mkdir()
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "in").symlink_to(root)
    outside = [
        tmp_path,
        tmp_path / "elsewhere",
        tmp_path / "allowed-not",
        f"{root}/../elsewhere",
        root / "out",
        "/",
        "/etc",
        f"{root}/x/../../..",
        tmp_path / "not-there",
    ]
    answers = {refused(root, asked(one)) for one in outside}
    assert len(answers) == 1  # nobody learns what exists elsewhere
    assert "allow.roots" in answers.pop()
    assert admit(root, asked(root / "in")).config.root == str(root)
    assert "not a folder" in refused(root, asked(root / "not-there"))
    for odd in ("", "relative", "x\0y", "~"):
        assert "not an absolute path" in refused(root, asked(odd))


@pytest.mark.parametrize("path", ["..", "../elsewhere", "/etc", "a/../../b", "\0"])
def test_a_path_stays_below_the_root(root: Path, path: str) -> None:
    assert "path: " in refused(root, asked(root, filetypes=["gif"], path=path))


@pytest.mark.parametrize(
    "callback",
    [
        *("os:system", "jobs:others", "jobs.names:names", "plots:movie", "plots.movie.x:y", "plots.movie:*", "jobs"),
        *("a b:c", "__import__('os'):x", "jobs:names;x", "../jobs:names"),
    ],
)
def test_only_callbacks_that_are_allowed_are_called(root: Path, callback: str) -> None:
    assert "callback" in refused(root, asked(root, callbacks=[callback]))


@pytest.mark.parametrize("email", ["eve@example.org", "ada@evil.example", "ada@example.org\nBcc: x@y", "@lab.example"])
def test_only_addresses_that_are_allowed_get_mail(root: Path, email: str) -> None:
    assert "email: " in refused(root, asked(root, callbacks=["jobs:names"], email=email))


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/services/x",
        "https://hooks.example.org:8443/services/x",
        "https://hooks.example.org.evil.example/services/x",
        "https://hooks.example.org/services-other",
        "https://hooks.example.org/services/../admin",
        "https://hooks.example.org/services/%2e%2e/admin",
        "https://hooks.example.org/services/..%5cadmin",
        "https://u:p@hooks.example.org/services/x",
        "https://hooks.example.org@evil.example/services/x",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
    ],
)
def test_only_targets_that_are_allowed_are_posted_to(root: Path, url: str) -> None:
    assert "webhook: " in refused(root, asked(root, webhook=url))


def test_sizes_are_bounded(root: Path) -> None:
    assert "characters" in refused(root, asked(root, patterns=["x" * 301]))
    assert "patterns" in refused(root, asked(root, patterns=["x"] * 51))
    assert "patterns" in refused(root, asked(root, filetypes=["x"] * 30, patterns=["x"] * 30))
    assert "patterns" in refused(root, asked(root, callbacks=["jobs:names"] * 1000))
    assert "path" in refused(root, asked("/" + "x" * 5000))
    assert "name" in refused(root, asked(root, watch="x" * 201))
    assert "name" in refused(root, asked(root, watch=""))
    assert "name" in refused(root, asked(root, watch="a\nb"))


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?P<a>x)(?P<a>y)", "x{99999999999999999999}", "(?<=a+)b"])
def test_expressions_are_looked_at_by_the_watchs_process_alone(root: Path, pattern: str) -> None:
    """Compiling one can take long, and admitting happens in the service's own thread."""
    job = admit(root, asked(root, patterns=[pattern]))
    with pytest.raises(BadWatch, match="pattern: "):
        Matcher(job.config.rules)


@given(st.builds(
    WatchStart, at=st.integers(0, 2**60), watch=st.text(max_size=20), root=st.text(max_size=30),
    patterns=st.lists(st.text(max_size=20), max_size=3), filetypes=st.lists(st.text(max_size=5), max_size=3),
    path=st.text(max_size=10), callbacks=st.lists(st.text(max_size=10), max_size=3), email=st.text(max_size=10),
    webhook=st.text(max_size=20), interval=st.floats(), settle=st.floats(), timeout=st.floats(),
))  # fmt: skip
def test_whatever_is_asked_is_refused_and_nothing_worse(wanted: WatchStart) -> None:
    with pytest.raises(Refused):
        admit_request(wanted, "r", Allow(), Limits(), memory=Path("/nowhere"))


WITHIN = st.fixed_dictionaries(
    {
        "patterns": st.lists(st.text(max_size=20), max_size=3),
        "filetypes": st.lists(st.text(max_size=5), max_size=3),
        "path": st.text(max_size=10),
        "interval": st.floats(),
        "settle": st.floats(),
        "timeout": st.floats(),
    }
)


@given(WITHIN)
def test_within_an_allowed_root_it_is_a_job_or_refused(wanted: dict[str, Any]) -> None:
    try:
        job = admit_request(asked("/tmp", **wanted), "r", Allow(roots=["/"]), Limits(), memory=Path("/nowhere"))
    except Refused:
        return
    assert job.config.interval >= 5.0
