"""The first tables, as `schema_0001` declares them."""

from importlib.metadata import version

from alembic import op

from heliograph_store.migrations.schema_0001 import meta, metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
    op.bulk_insert(
        meta,
        [
            {"key": "application", "value": "heliograph"},
            {"key": "created_by", "value": f"heliograph-server {version('heliograph-server')}"},
        ],
    )
