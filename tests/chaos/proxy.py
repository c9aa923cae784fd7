"""A TCP proxy in front of a broker, whose network can be cut: it refuses whoever comes, or is silent and delivers late."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from deploy.kafka.broker import HOST, Broker
from deploy.kafka.broker import _free_port as free_port  # none that a refused client may get itself, and then talk to itself

__all__ = ["Cut", "Proxy", "proxied"]

PIECE_BYTES = 1 << 16
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Cut = Literal["refuse", "silence"]
"""`refuse` resets the connections and takes no new ones, as when a host is gone. `silence` lets no byte pass, nor the end of a
connection, and delivers all of it when it is mended, as when a route is gone: the harder case, for nobody is told."""


class Proxy:
    """Listens on `port`, a free one, and forwards to `target`, another port of this machine."""

    def __init__(self, target: int) -> None:
        self.port, self.target = free_port(), target
        self._passing, self._lock = threading.Event(), threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._passing.set()
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._refuse()
        self._passing.set()
        for thread in self._threads:
            thread.join()

    def cut(self, how: Cut) -> None:
        """Let nothing pass until `mend`."""
        self._passing.clear()
        if how == "refuse":
            self._refuse()

    def mend(self) -> None:
        """As if nothing had been."""
        self._passing.set()
        if self._listener is None:
            self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port))
        self._start(self._accept, self._listener)

    def _refuse(self) -> None:
        """Take no more connections, and end those there are. A thread that waits for a socket wakes when it is shut down."""
        with self._lock:
            ending, self._listener = [self._listener, *self._open], None
        for one in ending:
            if one is not None:
                with suppress(OSError):  # the other side was faster
                    one.shutdown(socket.SHUT_RDWR)

    def _start(self, run: Callable[[socket.socket], None], of: socket.socket) -> None:
        thread = threading.Thread(target=run, args=(of,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # shut down
                    return
                self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        """Two pumps, of which this thread is one; both sockets are closed when both have ended."""
        self._passing.wait()
        with client:
            try:
                broker = socket.create_connection((HOST, self.target))
            except OSError:  # down, so that the client finds a closed connection
                return
            with broker:
                for one in (client, broker):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                with self._lock:
                    self._open |= {client, broker}
                back = threading.Thread(target=self._pump, args=(broker, client), daemon=True)
                back.start()
                self._pump(client, broker)
                back.join()
                with self._lock:
                    self._open -= {client, broker}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # reset, by either side
            while piece := source.recv(PIECE_BYTES):
                self._passing.wait()
                sink.sendall(piece)
        self._passing.wait()
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def proxied(directory: Path, ways: int) -> tuple[Broker, list[Proxy]]:
    """A broker that is reached directly or through `ways` proxies, each of which leads its clients back through itself.

    Nothing is started yet.
    """
    direct, controller = free_port(), free_port()
    proxies = [Proxy(free_port()) for _ in range(ways)]
    behind = {"PLAINTEXT": direct} | {f"WAY{n}": proxy.target for n, proxy in enumerate(proxies)}
    advertised = {"PLAINTEXT": direct} | {f"WAY{n}": proxy.port for n, proxy in enumerate(proxies)}
    config = {
        "listeners": _listeners(behind | {"CONTROLLER": controller}),
        "advertised.listeners": _listeners(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in (*behind, "CONTROLLER")),
        "controller.quorum.voters": f"1@{HOST}:{controller}",
    }
    return Broker(directory, port=direct, config=config), proxies


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items())
