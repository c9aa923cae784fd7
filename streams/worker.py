"""Run one worker until it is told to stop."""

from __future__ import annotations

import gc
import logging
import socket
from dataclasses import replace

import faust

from streams.app import create_app
from streams.settings import WorkerSettings

__all__ = ["run_worker"]

log = logging.getLogger(__name__)

GC_THRESHOLD = 500_000
"""Chunks allocate tens of thousands of short-lived objects at once; the default of 700 collects in the middle of each."""


def run_worker(settings: WorkerSettings) -> int:
    """Block until SIGTERM or SIGINT. Returns the exit code."""
    if settings.web_port == 0:
        settings = replace(settings, web_port=_free_port(settings.web_host))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 50, 50)
    worker = faust.Worker(app, loglevel=settings.log_level, redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()
    return 0


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
