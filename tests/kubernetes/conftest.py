"""Fixtures of the tests on a real cluster: a namespace of their own, and the chart with its built-in servers in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.chart import CHART
from tests.kubernetes.cluster import Forward, Namespace, Release


@pytest.fixture(scope="session")
def space() -> Iterator[Namespace]:
    made = Namespace()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def release(space: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Installed, with all its pods ready, and the hub's port on this machine."""
    space.make_volumes("heliograph")
    settings = ["hub.replicas=2"]
    for server in ("database.builtin", "broker.builtin", "filewatch"):
        settings.append(f"{server}.storage.storageClass={space.storage_class}")
    # A second release of these tests uses the servers of this one.
    peers = '[{"podSelector": {}}]'
    words = ["--set-json", f"networkPolicy.databaseFrom={peers}", "--set-json", f"networkPolicy.brokerFrom={peers}"]
    words += [word for setting in settings for word in ("--set", setting)]
    made = Release(
        space, "heliograph", tmp_path_factory.mktemp("release"), "-f", CHART / "examples" / "builtin.yaml", *words
    )
    made.must(made.install())
    forward = Forward(space, "heliograph-hub", 55055)
    made.settings["HUB_PORT"] = str(forward.port)
    try:
        yield made
    finally:
        forward.close()
