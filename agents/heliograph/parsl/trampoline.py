"""What runs around the user's function in the task's process. This file's *text* travels with the task, so it must
stand alone: nothing but the standard library may be needed. `run` is what is called.

In: the user's function, where its records go, task number and try. Out: what the function returns or raises, always;
and the records of the try when Heliograph can be imported there. The text is compiled in the worker, once a function.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

# Why the worker half cannot be used here, once that is known: an import that fails is slow, and would be so each time.
_absent: list = []  # type: ignore[type-arg]


def run(function, where, number, try_, /, *args, **kwargs):
    half = None
    if not _absent:
        try:
            from heliograph import journal as journals
            from heliograph import worker

            route, executor, shared, redact = where
            if redact:  # a batch system may not have brought the submitting side's environment here
                import os

                os.environ.setdefault("HELIOGRAPH_REDACT", redact)
            journal = journals.journal_for(journals.Route(**dict(route)))
            worker.node_seen(journal, executor)
            ids = worker.Try(origin="", number=number, try_=try_, executor=executor, shared=shared)
            half = worker, journal, worker.began(journal, ids)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, ImportError):
                _absent.append(error)
                import logging

                logging.getLogger("parsl.heliograph").warning("Tasks run unmonitored in this process: %s", error)
    if half is None:
        return function(*args, **kwargs)
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        _ended(half, error, False)
        raise
    _ended(half, result, True)
    return result


def _ended(half, outcome, returned):
    try:
        worker, journal, began = half
        worker.ended(journal, began, outcome, returned=returned)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110 - the outcome belongs to the user, whatever happens here
        pass
