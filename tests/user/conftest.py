"""What the users' tests share."""

import socket

import pytest


@pytest.fixture
def unused_port() -> int:
    """A port where nobody answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
