"""Named queries: the only way in which dashboards, hubs and people read the store.

In: a `Store` and what is asked for. Out: lists of frozen values, times in microseconds UTC, unknown is None. Lists are
paged by key (`after=` the key of the last row that was read), never by offset: a page costs the same wherever it is,
and rows that arrive meanwhile shift nothing. Every function says which index serves it. Runs are asked for by
their `id` (`runs.find_run` gives it), tasks by their key (`schema.task_key`; of a Parsl task it is its number).
"""
