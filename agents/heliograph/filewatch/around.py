"""What runs around a watched function in its own process. This file's *text* travels with the function, so it must
stand alone: nothing but the standard library may be needed.

In: the user's function, and a monitor as bytes. Out: what the function returns or raises, always; and a watch beside it
where Heliograph can be imported.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

# Why no watch can be opened here, once that is known: an import that fails is slow, and would be so each time.
_absent: list = []  # type: ignore[type-arg]


def run(function, monitor, /, *args, **kwargs):
    handle = None
    if not _absent:
        try:
            from heliograph.filewatch.attach import opened

            handle = opened(monitor)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, ImportError):
                _absent.append(error)
            import logging

            logging.getLogger("heliograph.filewatch").warning("Nothing watches files beside this task: %s", error)
    try:
        return function(*args, **kwargs)
    finally:
        if handle is not None:
            handle.end()
