"""Fixtures that every area may use: private servers, started once a session and only when a test asks for them."""

import os
import sys
from pathlib import Path

pytest_plugins = ["tests.fixtures.broker", "tests.fixtures.postgres"]

# Parsl's HighThroughputExecutor finds its own programs on PATH: this environment's come first, activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
