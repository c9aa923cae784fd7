"""The demo's own processes: tied to this one by a pipe, stopped by signal, their words kept for when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from allocator.errors import AllocatorError

__all__ = ["Child", "ChildError"]

STOP_WAIT_S = 8.0
LOG_LINES = 15
LINE_BYTES_MAX = 1 << 20


class ChildError(AllocatorError):
    """A process of the demo ended or failed on its own; the message ends with its last words."""


class Child:
    """One child process. Its standard input is a pipe whose end means that this process is gone.

    Parameters
    ----------
    role : what messages call it.
    module, arguments : run as ``python -m MODULE ARGUMENTS``.
    environment : all of it.
    log : file for its standard error, and for its standard output unless `talks`.
    talks : whether its standard output is read here, line by line (`process.stdout`).
    """

    def __init__(
        self, role: str, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path, *, talks: bool = False
    ) -> None:
        self.role, self.log = role, log
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._talks = talks
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process; only inside the context."""
        if self._process is None:
            raise ChildError(f"the {self.role} was not started")
        return self._process

    async def __aenter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if self._talks else log,
                stderr=log,
                env=self._environment,
                limit=LINE_BYTES_MAX,
                start_new_session=True,  # Ctrl-C is for this process, which then stops its children in order
            )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        process = self.process
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            # It may end between the look and the signal.
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_WAIT_S)
            except TimeoutError:
                process.kill()
                await process.wait()

    def check(self) -> None:
        """Raise ChildError if it has ended."""
        if self.process.returncode is not None:
            raise self.failure(f"ended with exit code {self.process.returncode}")

    def failure(self, what: str) -> ChildError:
        """An error that ends with the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return ChildError("\n  ".join([f"the {self.role} {what}" + (". Its last lines:" if lines else ""), *lines]))
