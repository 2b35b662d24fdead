"""Create everything: tables, and the views with Parsl's names.

Until the first release this follows `schema.py`; from then on it is frozen, and changes are revisions of their own.
"""

from importlib.metadata import version

from alembic import op

from heliograph_store.schema import meta, metadata
from heliograph_store.views import create_views

revision = "0001"
down_revision = None


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=False)
    for statement in create_views(connection.dialect.name):
        op.execute(statement)
    op.bulk_insert(
        meta,
        [
            {"key": "application", "value": "heliograph"},
            {"key": "created_by", "value": f"heliograph-server {version('heliograph-server')}"},
        ],
    )
