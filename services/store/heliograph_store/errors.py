"""What can go wrong with a store, each answering one question: wait, or correct something?

In: nothing. Out: exceptions whose text a person can act on, without secrets.
"""

from __future__ import annotations


class StoreError(Exception):
    """Any trouble with the store."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, is locked for long, or is full: keep what you have and try again later."""


class BadDatabaseUrl(StoreError, ValueError):
    """A database URL that cannot work. The text says what is wrong and what a right one looks like."""


class NotHeliograph(StoreError):
    """The database holds something else (Parsl's own monitoring, for example) and was not touched."""


class NewerDatabase(StoreError):
    """The database was written by a newer Heliograph than this one."""


class NeedsMigration(StoreError):
    """The database has no schema yet, or an older one: run `heliograph migrate`."""
