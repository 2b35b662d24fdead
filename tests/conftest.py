"""Fixtures that every area may use: private servers, started once a session and only when a test asks for them."""

pytest_plugins = ["tests.fixtures.broker", "tests.fixtures.postgres"]
