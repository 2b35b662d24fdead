"""Makes derived columns and rollups anew from the columns that hold what was recorded.

In: a write session in a transaction in which nobody else writes (a migration). Out: the same database with
`derive.py`'s columns and all rollups as this version computes them, whatever stood there.
"""

from __future__ import annotations

from typing import Any, Final

from heliograph_store import schema
from heliograph_store.names import Names, Translation
from heliograph_store.runwrite import RunRows, StoredRun, folded_names
from heliograph_store.session import Session

CHUNK: Final = 5_000
"""Tasks that are held in memory at a time."""


def rebuild(session: Session) -> None:
    translation = Translation(Names(), session)
    for table in schema.ROLLUPS:
        session.clear(table)
    columns = schema.runs.c.keys()
    for values in session.all_rows(schema.runs):
        row: dict[str, Any] = dict(zip(columns, values, strict=True))
        rows = RunRows(session=session, names=translation, run=StoredRun(id=row["id"], row=row))
        after = -1
        while keys := session.task_keys(row["id"], after, CHUNK):
            fold = rows.load(keys)
            rows.derive(fold)
            for table, texts in folded_names([fold]):
                translation.provide(table, texts)
            rows.write_derived(fold)
            after = keys[-1]
