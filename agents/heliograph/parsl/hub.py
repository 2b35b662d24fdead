"""`MonitoringHub` for `parsl.Config`: where Parsl's own would stand, it has the workflow recorded by Heliograph.

In: what Parsl tells its monitoring. Out: records in a journal of the submitting process and, through the wrapped
executors, in journals of the tasks' processes; a detached process that finds or starts what takes them. Nothing here
raises into Parsl or makes it wait.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import parsl
from parsl.monitoring import MonitoringHub as ParslMonitoringHub

from heliograph import settings
from heliograph.bus import hidden
from heliograph.parsl import TESTED, session
from heliograph.parsl.kernel import Unreachable, calling_kernel, checked

if TYPE_CHECKING:
    from heliograph.filewatch.monitor import FileMonitor

_log = logging.getLogger("parsl.heliograph")


class MonitoringHub(ParslMonitoringHub):  # type: ignore[misc]
    """Records a Parsl workflow with Heliograph.

    hub_address, hub_port: a running hub to ask where records go. Without one that answers, an embedded writer serves
        this run, and the database is where Parsl's own would be.
    hub_port_range, monitoring_debug: as in Parsl. The first is accepted and unused; the second logs more.
    resource_monitoring_interval: seconds between samples of a task; 0 takes none.
    resource_monitoring_enabled: record what tasks do where they run, beside what the submitting process knows.
    workflow_name, workflow_version: how the run is called.
    logging_endpoint: database URL for the embedded writer, else `monitoring.db` in Parsl's run directory.
    bus_url: `amqp://…`, `http(s)://…` or `spool:/folder`, to send records there and nowhere else.
    tags: short texts by name, kept with the run.
    official_radio: use Parsl's own, slower wrapper around tasks instead of ours (`HELIOGRAPH_PARSL_ROUTE=official`).
    file_monitor: a `heliograph.FileMonitor` that watches for files as long as the run goes on, on this machine.
    record_arguments: keep inputs, outputs and redirections of tasks; `HELIOGRAPH_REDACT` holds patterns to blank out.
    """

    def __init__(  # noqa: PLR0917 - the order is that of Parsl's documentation
        self,
        hub_address: str | None = None,
        hub_port: int | None = 55055,
        resource_monitoring_interval: float = 10,
        workflow_name: str | None = None,
        workflow_version: str | None = None,
        logging_endpoint: str | None = None,
        monitoring_debug: bool = False,
        resource_monitoring_enabled: bool = True,
        hub_port_range: Any = None,
        *,
        bus_url: str | None = None,
        tags: Mapping[str, str] | None = None,
        official_radio: bool | None = None,
        record_arguments: bool = True,
        file_monitor: FileMonitor | None = None,
    ) -> None:
        # Parsl's __init__ is not called: it refuses to work without SQLAlchemy. These attributes are printed into
        # parsl.log, so the URLs among them have no user information.
        self.hub_address = hub_address
        self.hub_port = hub_port
        self.hub_port_range = hub_port_range
        self.resource_monitoring_interval = resource_monitoring_interval
        self.resource_monitoring_enabled = resource_monitoring_enabled
        self.workflow_name = workflow_name
        self.workflow_version = workflow_version
        self.logging_endpoint = None if logging_endpoint is None else hidden(logging_endpoint)
        self.monitoring_debug = monitoring_debug
        self.bus_url = None if bus_url is None else hidden(bus_url)
        self.tags = dict(tags or {})
        self.official_radio = settings.parsl_official_route() if official_radio is None else official_radio
        self.record_arguments = record_arguments
        self.file_monitor = _checked_monitor(file_monitor)
        self.monitoring_hub_active = False
        self.resource_msgs: Any = None
        self._wants_tasks = resource_monitoring_enabled
        self._hidden = {"database": logging_endpoint, "bus": bus_url}
        self._session: session.Session | None = None

    def start(self, dfk_run_dir: str, config_run_dir: str | os.PathLike[str] = ".", log_config: Any = None) -> None:
        """Called by the kernel while it is being made. Takes some milliseconds, and never raises."""
        began = time.monotonic()
        try:
            self._start(dfk_run_dir, config_run_dir)
        except Exception:
            _log.warning("Heliograph could not start; this run is not monitored", exc_info=True)
            self._session = None
            self.resource_monitoring_enabled = False
            self.resource_msgs = session.deaf_queue()
        self.monitoring_hub_active = True
        _log.debug("Heliograph took %.0f ms to start", (time.monotonic() - began) * 1000)

    def close(self) -> None:
        """Called by the kernel after its last message. What is in the journals is shipped by the agents, afterwards."""
        self.monitoring_hub_active = False
        closing, self._session = self._session, None
        if closing is not None:
            try:
                closing.close()
            except Exception:
                _log.warning("Heliograph could not close the journal of this run", exc_info=True)

    def _start(self, dfk_run_dir: str, config_run_dir: str | os.PathLike[str]) -> None:
        options = session.Options(
            hub=self._hub(),
            bus=self._hidden["bus"],
            database=self._hidden["database"],
            run_dir=os.path.abspath(dfk_run_dir),
            config_run_dir=os.path.abspath(config_run_dir),
            sample_interval=self._interval(),
            record_tasks=self._wants_tasks,
            record_arguments=self.record_arguments,
            tags={str(name): str(value) for name, value in self.tags.items()},
            file_monitor=self.file_monitor,
        )
        made = session.Session(options)
        self.resource_msgs = made.messages
        self._session = made
        self.resource_monitoring_enabled = not self._fast(made) and self._wants_tasks

    def _fast(self, made: session.Session) -> bool:
        """Take the fast route when the kernel can be reached and is as expected; else Parsl's own, and say why."""
        try:
            kernel = calling_kernel(self)
            if self.official_radio:
                made.official(kernel)
                return False
            made.fast(checked(kernel))
            return True
        except Unreachable as error:
            _log.warning(
                "Parsl %s is not what Heliograph expects (%s; supported: %s); Parsl's own, slower wrapper is used",
                getattr(parsl, "__version__", "?"),
                error,
                TESTED,
            )
            try:
                made.official(calling_kernel(self))
            except Unreachable:
                _log.warning("The kernel cannot be reached: Parsl's default radios are used")
            return False

    def _hub(self) -> str | None:
        if not self.hub_address:
            return None
        address = str(self.hub_address)
        has_port = address.rpartition("]")[2].count(":") == 1 if address.startswith("[") else address.count(":") >= 1
        return address if "://" in address or has_port else f"{address}:{self.hub_port or 55055}"

    def _interval(self) -> float:
        try:
            return max(0.0, float(self.resource_monitoring_interval or 0))
        except (TypeError, ValueError):
            _log.warning(
                "resource_monitoring_interval=%r is not a number; 10 is used", self.resource_monitoring_interval
            )
            return 10.0


def _checked_monitor(monitor: Any) -> Any:
    """The monitor; what is none is said where the hub is made, before there is a workflow that it could disturb."""
    if monitor is not None:
        from heliograph.filewatch.monitor import FileMonitor

        if not isinstance(monitor, FileMonitor):
            raise TypeError(f"file_monitor: {monitor!r} is not a heliograph.FileMonitor")
    return monitor
