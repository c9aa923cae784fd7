"""Peer: the same agents and tables as `plain_faust`, with the settings that were found to help: a linger and larger buffers."""

from __future__ import annotations

import asyncio

from tests.bench.peers.plain_faust import join_all
from tests.bench.protocol import run_job

SETTINGS = {
    "producer_linger": 0.02,
    "broker_max_poll_records": 5000,
    "stream_buffer_maxsize": 16_384,
    "stream_wait_empty": False,
}

if __name__ == "__main__":
    run_job(lambda job: asyncio.run(join_all(job, **SETTINGS)))
