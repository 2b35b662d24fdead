"""The composition root: command line, settings, starting and stopping roles, health."""
