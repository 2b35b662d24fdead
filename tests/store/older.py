"""Databases as earlier versions left them."""

from __future__ import annotations

from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection, text

from heliograph_store import migrate as module
from heliograph_store.views import create_views

AS_NOW = "m.memory_milli / 1000"
BEFORE_0003 = "m.memory_percent"


def upgrade_to(connection: Connection, revision: str) -> None:
    """The tables of an older revision, made by the migrations themselves."""
    scripts = module._scripts()

    def steps(found: object, _context: object) -> object:
        return scripts._upgrade_revs(revision, found)

    with EnvironmentContext(module._config(), scripts, fn=steps, destination_rev=revision) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


def views_before_0003(connection: Connection) -> None:
    statements = create_views(connection.dialect.name)
    assert sum(AS_NOW in statement for statement in statements) == 1
    for statement in statements:
        connection.execute(text(statement.replace(AS_NOW, BEFORE_0003)))
