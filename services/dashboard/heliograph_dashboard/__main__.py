"""Shows a database by itself: `python -m heliograph_dashboard DATABASE [PORT]`, for those who work on the dashboard.

In: a path or URL. Out: a dashboard on loopback, without the checks of `heliograph view`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from heliograph_dashboard.app import create_app
from heliograph_dashboard.config import DashboardConfig

if __name__ == "__main__":
    named = sys.argv[1]
    url = named if "://" in named else f"sqlite:///{Path(named).absolute()}"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8080
    config = DashboardConfig(database_url=url, port=port)
    uvicorn.run(create_app(config), host=config.host, port=config.port, log_level="warning")
