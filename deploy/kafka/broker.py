"""One Apache Kafka broker on loopback, for tests and for trying things by hand: `make kafka`.

    with Broker(directory) as kafka:          # or start(), stop(), kill() by hand
        connect(kafka.bootstrap)

What happens, in order:
1. The jars named in pom.xml are copied by Maven into a cache outside the tree, once.
2. The data directory is formatted for KRaft, if it is new.
3. One JVM runs broker and controller on two free ports of 127.0.0.1, which stay the same over stop, kill and start.
4. `start` returns when a client has got an answer.

A guardian process ends the JVM when this process dies, however it dies. Needs Java ≥ 17, and Maven while the jars are not cached.
Not for production: replication factor 1, no security, a small heap.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Self
from xml.etree import ElementTree

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

__all__ = ["JAVA_MIN", "Broker", "BrokerError", "missing_tools"]

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
HOST = "127.0.0.1"
JAVA_MIN = 17
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
LOG_TAIL_LINES = 40

# Below every system's range of ephemeral ports: while the broker is down, a client that keeps trying to connect to an
# ephemeral port of its own machine can end up connected to itself and hold the port.
PORTS = range(20_000, 32_000)

CONFIG = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A topic that is missing is an error of the program, as on a production cluster.
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # Workers may ask for a session short enough for tests of what follows its end (6 s at least by default).
    "group.min.session.timeout.ms": "1000",
    # After a kill the controller takes the broker back only when the dead one's session has ended (9 s by default).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # One broker holds every replica, and few partitions of the internal topics start faster.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Compaction runs, with a buffer that leaves room in the heap (128 MiB by default).
    "log.cleaner.enable": "true",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
}
JVM_OPTIONS = ("-Xmx512m", "-XX:+ExitOnOutOfMemoryError", f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}")
# Kills the process $1 when standard input ends, which it does when the process holding the other end of the pipe dies.
GUARDIAN = 'cat >/dev/null; kill -9 "$1"'


class BrokerError(Exception):
    """The broker cannot be had: a tool is missing, Maven failed, or the JVM did not answer or stop in time."""


def missing_tools() -> list[str]:
    """What has to be installed before a broker can start: names for the user to read, empty when nothing is missing."""
    missing = []
    if _java_version() < JAVA_MIN:
        missing.append(f"Java {JAVA_MIN}")
    if not _jar_cache().is_dir() and shutil.which("mvn") is None:
        missing.append("Maven")
    return missing


class Broker:
    """One broker with its data directory.

    Parameters
    ----------
    directory : holds log segments, `server.properties` and `broker.log`; created when missing, never removed.
    port : of the listener; None takes a free one. The controller's is always a free one.
    config : broker properties that add to, or replace, those in `CONFIG`.
    """

    def __init__(self, directory: Path, *, port: int | None = None, config: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.log_file = directory / "broker.log"
        self.port = port if port is not None else _free_port()
        self._controller_port = _free_port(besides=self.port)
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients; the same before and after a restart."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The JVM's process id, None while it is not running."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start the JVM on the data that is there and return when it answers. Raises BrokerError."""
        if self.pid is not None:
            raise BrokerError(f"the broker on {self.bootstrap} is already running, pid {self.pid}")
        self._reap()
        if _is_open(self.port):
            raise BrokerError(f"{self.bootstrap} is taken by another process")
        if missing := missing_tools():
            raise BrokerError(f"no {' and no '.join(missing)} found: needed to run Kafka")
        jars = _jars()
        properties = self._write_properties()
        if not (self._log_dir / "meta.properties").exists():
            _format_storage(jars, properties)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [_java(), *JVM_OPTIONS, "-cp", f"{jars}/*", "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: ctrl-C in the terminal reaches this process only, which then stops the broker in order.
                start_new_session=True,
            )
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARDIAN, "kafka-guardian", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_it_answers(time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut down in order. Without effect when it is not running. Raises BrokerError, after a kill, if it takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise BrokerError(f"the broker did not stop within {STOP_TIMEOUT_S} s; killed it\n{self.log_tail()}") from late
        self._reap()

    def kill(self) -> None:
        """End the JVM with SIGKILL, as a crash would; data and ports stay. Without effect when it is not running."""
        if self._process is None:
            return
        self._process.kill()
        self._reap()

    def wait(self) -> int:
        """Wait until the JVM ends by itself, and give its exit code."""
        if self._process is None:
            raise BrokerError("the broker was not started")
        return self._process.wait()

    def log_tail(self) -> str:
        """The last lines of the broker's log, for an error message."""
        if not self.log_file.exists():
            return "(no log)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _log_dir(self) -> Path:
        return self.directory / "log"

    def _write_properties(self) -> Path:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        config = {
            **CONFIG,
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "log.dirs": str(self._log_dir),
            **self._config,
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
        return path

    def _wait_until_it_answers(self, deadline: float) -> None:
        """Return once metadata names the broker; the port alone opens earlier."""
        while time.monotonic() < deadline:
            if self.pid is None:
                raise BrokerError(f"the broker ended during its start\n{self.log_tail()}")
            if _is_open(self.port) and _answers(self.bootstrap):
                return
            time.sleep(POLL_S)
        raise BrokerError(f"the broker did not answer on {self.bootstrap} within {START_TIMEOUT_S} s\n{self.log_tail()}")

    def _reap(self) -> None:
        """Collect the dead JVM. The guardian goes first: it must not outlive the pid that it would kill."""
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait()
            if self._guardian.stdin is not None:
                self._guardian.stdin.close()
            self._guardian = None
        if self._process is not None:
            self._process.wait()
            self._process = None


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"


def _java_version() -> int:
    """The major version of the JVM that would run, 0 when there is none."""
    try:
        answer = subprocess.run([_java(), "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found and answer.returncode == 0 else 0


def _jar_cache() -> Path:
    """Where the jars of this pom are kept: a changed pom has another directory, so it is never mixed with an older one."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    pom = POM.read_bytes()
    version = ElementTree.fromstring(pom).findtext(".//{*}kafka.version")
    return Path(cache) / "streaming-allocator" / f"kafka-{version}-{hashlib.sha256(pom).hexdigest()[:8]}"


def _jars() -> Path:
    """The directory of jars, filled by Maven the first time; it appears complete or not at all."""
    cache = _jar_cache()
    if cache.is_dir():
        return cache
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".copying-") as scratch:
        jars = Path(scratch) / "jars"
        command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        maven = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if maven.returncode != 0:
            raise BrokerError(f"Maven could not copy Kafka's jars:\n{maven.stdout}{maven.stderr}")
        try:
            jars.rename(cache)
        except OSError:
            # Another process was faster; its copy is the same.
            if not cache.is_dir():
                raise
    return cache


def _format_storage(jars: Path, properties: Path) -> None:
    command = [_java(), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*", "kafka.tools.StorageTool"]
    # A cluster id is 16 random bytes in URL-safe base64, and must not read as an option.
    cluster_id = "k" + secrets.token_urlsafe(16)[1:]
    command += ["format", "--cluster-id", cluster_id, "--config", str(properties)]
    tool = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if tool.returncode != 0:
        raise BrokerError(f"formatting the storage failed:\n{tool.stdout}{tool.stderr}")


def _free_port(besides: int | None = None) -> int:
    while True:
        port = secrets.choice(PORTS)
        if port == besides:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _answers(bootstrap: str) -> bool:
    """Whether a client gets metadata that names a broker. librdkafka's own complaints are silenced: trying again is the plan."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run one Apache Kafka broker on loopback until ctrl-C.")
    parser.add_argument("--port", type=int, default=9092, help="listener port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="where the data lives and stays (default: a new temporary directory)")
    parser.add_argument("--keep", action="store_true", help="do not remove the temporary directory at the end")
    return parser.parse_args()


def main() -> int:
    """Run in the foreground until SIGINT or SIGTERM. Exit code 0 after an orderly stop, 1 when the broker failed."""
    arguments = _parse_arguments()

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs are started with SIGINT ignored
        signal.signal(number, interrupt)
    directory = arguments.data_dir or Path(tempfile.mkdtemp(prefix="allocator-kafka-"))
    broker = Broker(directory, port=arguments.port or None)
    try:
        print(f"starting Kafka, data and log in {directory}", file=sys.stderr, flush=True)
        broker.start()
        print(broker.bootstrap, flush=True)
        code = broker.wait()
        print(f"the broker ended by itself with exit code {code}\n{broker.log_tail()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        broker.stop()
        return 0
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        broker.kill()
        if arguments.data_dir is None and not arguments.keep:
            shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
