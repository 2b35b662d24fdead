"""What a task carries beside the user's function. This file's *text* travels, so that a worker needs neither Heliograph
nor this Python version: `run` is Heliograph's where it can be imported, and otherwise calls the function plainly.
"""
# mypy: disable-error-code="no-untyped-def,misc"

try:
    from heliograph.wrapped import run
except KeyboardInterrupt:
    raise
except BaseException as error:
    import logging

    logging.getLogger("parsl.heliograph").warning("Tasks run unmonitored in this process: %s", error)

    def run(function, where, number, try_, /, *args, **kwargs):
        return function(*args, **kwargs)
