"""Ids for repeated texts (apps, hosts, kinds of failures, and `names` for the rest), and back.

In: texts that a batch uses. Out: their ids in the database, remembered for the life of the process: a name's id never
changes and is never used again. What a transaction added is remembered only once it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Table

from heliograph_store.schema import apps, failure_kinds, hosts, names
from heliograph_store.session import Session

DICTIONARIES: tuple[Table, ...] = (apps, failure_kinds, hosts, names)
OF_COLUMN: Mapping[str, Table] = {
    "app": apps,
    "host": hosts,
    "failure": failure_kinds,
    **dict.fromkeys(("executor", "runs_on", "worker", "pool", "block", "status", "exc_type", "watch"), names),
}
"""Which dictionary holds the texts of a column. `runs.host` is a text itself."""


class Names:
    """What is known of the dictionaries. Not thread-safe: one for each writer."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[str, int]] = {table.name: {} for table in DICTIONARIES}
        self._texts: dict[str, dict[int, str]] = {table.name: {} for table in DICTIONARIES}


class Translation:
    """The dictionaries as one transaction sees them."""

    def __init__(self, names: Names, session: Session) -> None:
        self._names = names
        self._session = session
        self._new: list[tuple[str, str, int]] = []
        self._fresh_ids: dict[str, dict[str, int]] = {}

    def ids(self, table: Table) -> Mapping[str, int]:
        """Text → id, for all texts given to `provide`."""
        return self._fresh_ids.get(table.name) or self._names._ids[table.name]

    def provide(self, table: Table, texts: set[str]) -> None:
        """See to it that these texts have ids."""
        known = self._names._ids[table.name]
        missing = sorted(text for text in texts if text not in known)
        if not missing:
            return
        found = self._session.look_up(table, "name", missing)
        absent = sorted(set(missing) - {name for _, name in found})
        if absent:
            self._session.add_names(table, "name", absent)
            found += self._session.look_up(table, "name", absent)
        self._fresh_ids[table.name] = {**known, **{name: id_ for id_, name in found}}
        self._new += [(table.name, name, id_) for id_, name in found]

    def texts(self, table: Table, ids: Iterable[int]) -> Mapping[int, str]:
        """Id → text, for at least these ids, which are in the database."""
        known = self._names._texts[table.name]
        missing = set(ids) - known.keys()
        if missing:
            # Read in this transaction, so these names were committed by others: they may be remembered at once.
            for id_, name in self._session.look_up(table, "id", missing):
                known[id_] = name
                self._names._ids[table.name][name] = id_
                if table.name in self._fresh_ids:
                    self._fresh_ids[table.name][name] = id_
        return known

    def remember(self) -> None:
        """The transaction is committed: keep what it added."""
        for table, name, id_ in self._new:
            self._names._ids[table][name] = id_
            self._names._texts[table][id_] = name
