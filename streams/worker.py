"""Run one worker until it is told to stop."""

from __future__ import annotations

import logging
from dataclasses import replace

from streams.app import create_app
from streams.embedded import LIMITS
from streams.heap import settle_heap
from streams.ports import free_port
from streams.seam.faust import Worker
from streams.settings import WorkerSettings

__all__ = ["run_worker"]

log = logging.getLogger(__name__)


def run_worker(settings: WorkerSettings) -> int:
    """Block until SIGTERM or SIGINT. Returns the exit code."""
    _log_to_stderr(settings.log_level)
    if settings.web_port == 0:
        settings = replace(settings, web_port=free_port(settings.web_host))
    app = create_app(settings)
    log.info(
        "worker of %r on %s, data in %s: %s", settings.prefix, settings.connection.bootstrap, settings.data_dir, settings.url
    )
    if settings.embedded:
        log.warning("embedded broker: %s", "; ".join(LIMITS))
    settle_heap()
    worker = Worker(app, loglevel=settings.log_level, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None  # it writes control characters between the log lines
    worker.execute_from_commandline()
    return 0


def _log_to_stderr(level: str) -> None:
    """Our own words at `level`; of the libraries only warnings, unless everything is asked for."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    if level != "DEBUG":
        for library in ("faust", "mode", "aiokafka"):
            logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))
