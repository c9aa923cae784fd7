"""The worker's HTTP surface: JSON for programs, numbers for Prometheus, a page for people. It reads a `View` and changes nothing.

`view` says what a worker must be able to tell, `server` serves it, `static` is the page.
"""

from streams.web.server import WebServer, create_web
from streams.web.view import ArmRow, ArmShare, ExperimentDetail, ExperimentSummary, HistoryPoint, MetricRow, View

__all__ = [
    "ArmRow",
    "ArmShare",
    "ExperimentDetail",
    "ExperimentSummary",
    "HistoryPoint",
    "MetricRow",
    "View",
    "WebServer",
    "create_web",
]
