"""The store: one schema for SQLite and PostgreSQL, writes that may come in any order, and named queries."""
