"""What goes wrong before a role can start, and how it is told.

In: an error of any part. Out: one line on stderr and exit status 2, never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

EXIT_BAD_SETUP = 2


class SetupError(Exception):
    """This command cannot work as it is set up. The text is one line: what is wrong and what to do."""


def guarded(action: Callable[[], int]) -> int:
    """Run a command; errors that a person can mend become one line and exit status 2."""
    try:
        return action()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `heliograph runs list | head`
        sys.stderr.close()
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror or error}")
    except Exception as error:
        if not isinstance(error, _mendable()):
            raise
        return complain(str(error))


def _mendable() -> tuple[type[Exception], ...]:
    from heliograph.bus import BadUrl, BusUnavailable
    from heliograph_dashboard.config import BadConfig as BadDashboard
    from heliograph_hub.config import BadConfig
    from heliograph_store.errors import StoreError

    return (SetupError, BadUrl, BusUnavailable, BadConfig, BadDashboard, StoreError)


def complain(text: str) -> int:
    print(f"heliograph: {' '.join(text.split())}", file=sys.stderr)
    return EXIT_BAD_SETUP
