"""How the tasks of a run, or of one app, went on: what the figure of states over time shows.

In: a `Store` and a run. Out: `Levels`; exact from the tries while they are few, from the rollup by minutes when not.
Made to be read through `Data`, so that one computation a tick serves all viewers.
"""

from __future__ import annotations

from typing import Final

from heliograph_dashboard.components.times import SECOND
from heliograph_dashboard.figures.states_over_time import COUNTED, Levels, levels_of_steps, levels_of_tries
from heliograph_store.read.kinds import task_kinds
from heliograph_store.read.progress import entered_by_step, times_of_tries
from heliograph_store.read.runs import Run
from heliograph_store.store import Store

FEW: Final = 2000
STEPS: Final = 300
PART: Final = 100_000
"""Less than this part of a run cannot be seen in a figure of all of it."""
LONGEST: Final = 30.0


def patience(run: Run) -> float:
    """For how many seconds levels of a run that goes on may be shown though there are newer ones: what of a long run's
    figure is not one pixel yet, while reading its minutes takes the longer the more there are."""
    if run.ended is not None:
        return 0.0
    return min(LONGEST, max(0, (run.last_seen or run.began) - run.began) / (SECOND * PART))


def levels(store: Store, run_id: int, *, app: str | None = None) -> Levels:
    """Tasks by state over time."""
    # Whether the run's tries may be read one by one is a matter of all of them, whatever the app.
    if sum(kind.tasks for kind in task_kinds(store, run_id)) <= FEW:
        tries = times_of_tries(store, run_id, app=app, limit=2 * FEW)
        if len(tries) < 2 * FEW:
            return levels_of_tries(tries, steps=STEPS)
    found = entered_by_step(store, run_id, app=app, states=COUNTED, steps=STEPS)
    return levels_of_steps(found.rows, width=found.width)
