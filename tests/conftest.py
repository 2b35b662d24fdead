"""Fixtures that every area may use: private servers, started once a session and only when a test asks for them."""

import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["tests.fixtures.broker", "tests.fixtures.postgres"]

# Parsl's HighThroughputExecutor finds its own programs on PATH: this environment's come first, activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

# A shell that starts this in the background has it ignore both, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# How long an example takes says nothing on a machine that does other things.
hypothesis.settings.register_profile("heliograph", deadline=None)
hypothesis.settings.load_profile("heliograph")

TOGETHER = {"deploy"}
"""Areas whose tests share what is dear to make (containers): one process runs them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests out (`make test`), those of a file stay together."""
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        group = place.parts[0] if place.parts[0] in TOGETHER else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
