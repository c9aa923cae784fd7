"""What every play of the demo needs: a broker, a worker, and an environment for the processes that is fit for them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from streams.clients import admin_client, started
from streams.connection import Connection
from streams.demo import Options
from streams.demo.children import Child
from streams.demo.worker_api import WorkerApi
from streams.embedded import LIMITS, EmbeddedBroker
from streams.ports import free_port
from streams.topics import Topics

__all__ = ["Play", "Setting", "cancel_on_sigterm", "play_out"]

INTERRUPTED = 130

READY_WAIT_S = 120.0


class Play(Protocol):
    """One play. `exit_code` is None until the summary is out."""

    exit_code: int | None

    async def play(self) -> None:
        """All of it."""


def play_out(make: Callable[[Options, Console], Play], options: Options) -> int:
    """Make a play and play it; its exit code, or 130 if it was interrupted before its summary was out."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs as errors what it then raises or retries
    out = Console(highlight=False)
    screen = Console(highlight=False, stderr=True, quiet=not sys.stderr.isatty()) if options.as_json else out
    stage = make(options, screen)
    try:
        asyncio.run(stage.play())
    except (KeyboardInterrupt, asyncio.CancelledError):
        if stage.exit_code is None:
            screen.print("Stopped.")
    return INTERRUPTED if stage.exit_code is None else stage.exit_code


class Setting:
    """Starts what a play needs, and says so on the console.

    Parameters
    ----------
    bootstrap : a real Kafka; None starts the embedded broker.
    prefix : of the topics.
    web_port : of the dashboard; 0 takes a free one.
    """

    def __init__(self, bootstrap: str | None, prefix: str, web_port: int, console: Console) -> None:
        self.bootstrap, self.topics = bootstrap, Topics(prefix)
        self._web_port, self._console = web_port, console

    async def broker(self, stack: AsyncExitStack) -> Connection:
        """The broker named, or an embedded one that is gone with the stack. Raises Unreachable."""
        bootstrap = self.bootstrap
        if bootstrap is not None:
            connection = Connection.from_environment(bootstrap)
            async with started(admin_client(connection), connection):
                self.say("broker", bootstrap)
            return connection
        broker = stack.enter_context(EmbeddedBroker())
        broker.create(spec.name for spec in self.topics.specs())
        self.say("broker", f"embedded, at {broker.bootstrap}, for trying out only:")
        for limit in LIMITS:
            self.say("", f"- {limit}")
        return Connection(bootstrap=broker.bootstrap)

    async def worker(self, stack: AsyncExitStack, connection: Connection, home: Path) -> tuple[Child, WorkerApi]:
        """A worker that is ready, with its state under `home`; stopped with the stack. Raises ChildError."""
        port = self._web_port or free_port()
        arguments = ["streams.cli", "worker", "--bootstrap", connection.bootstrap, "--prefix", self.topics.prefix]
        arguments += ["--data-dir", str(home / "state"), "--web-port", str(port)]
        if self.bootstrap is None:
            arguments.append("--embedded")
        worker = await stack.enter_async_context(
            Child("worker", "streams.demo.tied", arguments, self.environment(), home / "worker.log")
        )
        api = await stack.enter_async_context(WorkerApi(port))
        await _until(api.ready, worker, READY_WAIT_S, "was not ready")
        self.say("worker", f"ready; dashboard at {api.url}/")
        return worker, api

    def environment(self) -> dict[str, str]:
        """Of the children. How to log in to a real Kafka is nothing to the embedded broker."""
        embedded = self.bootstrap is None
        return {name: value for name, value in os.environ.items() if not (embedded and name.startswith("ALLOCATOR_"))}

    async def serve(self, worker: Child, api: WorkerApi) -> None:
        """Keep the dashboard up until the worker ends, which is an error, or this task is cancelled."""
        self._console.print(f"The dashboard stays at {api.url}/ until Ctrl-C.")
        await worker.process.wait()
        worker.check()

    def say(self, what: str, text: str) -> None:
        """One line under a heading."""
        self._console.print(Text.assemble((f"{what:7} ", "bold"), text), soft_wrap=True)


def cancel_on_sigterm() -> None:
    """From here on SIGTERM ends this task as Ctrl-C does: through everything that has to be stopped."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel, asyncio.current_task())


def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()


async def _until(holds: Callable[[], Awaitable[bool]], child: Child, wait_s: float, otherwise: str) -> None:
    """Return when `holds`; raise ChildError when the child ends, or after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while not await holds():
        child.check()
        if time.monotonic() > deadline:
            raise child.failure(f"{otherwise} within {wait_s:.0f} s")
        await asyncio.sleep(0.05)
