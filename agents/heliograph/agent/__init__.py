"""The node agent: tails the journals of a node, samples what runs there, and ships it all to the bus.

In: journals (files) and the process table. Out: batches on the bus of each run, each record at least once and under one
id. `loop` is the heart; `tail` reads, `outbox` collects, `ship` publishes, `watch` samples, `lease` keeps runs alive,
`persist` remembers over a restart, `elect` sees to it that there is one agent at a time.
"""
