"""${message}."""

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
DERIVES = False
"""Whether what is derived has to be made anew after it."""


def upgrade() -> None:
    ...
