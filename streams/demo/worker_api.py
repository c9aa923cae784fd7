"""The demo's view of the worker: a few questions over its HTTP surface."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from streams.demo.summary import State

__all__ = ["WorkerApi"]

TIMEOUT_S = 5.0


class WorkerApi:
    """Asks one worker; a context manager around the HTTP client."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(TIMEOUT_S))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http is not None:
            await self._http.close()

    async def ready(self) -> bool:
        """Whether it has restored its state and works."""
        return await self._get("/ready") is not None

    async def state(self, experiment: str) -> State | None:
        """What it says of the experiment; None while it does not know it, or does not answer in time."""
        body = await self._get(f"/api/experiments/{experiment}")
        return None if body is None else msgspec.json.decode(body, type=State)

    async def _get(self, path: str) -> bytes | None:
        """The body of a good answer; None for any other, and for none."""
        assert self._http is not None, "used outside its context"
        try:
            async with self._http.get(path) as response:
                return await response.read() if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None
