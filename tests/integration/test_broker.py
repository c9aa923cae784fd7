"""The local broker keeps what it acknowledged, at the same address, through an orderly stop and through a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.kafka import broker as launcher
from deploy.kafka.broker import Broker, BrokerError

pytestmark = pytest.mark.kafka
SCRIPT = Path(launcher.__file__)
TIMEOUT_S = 30.0


def create_topic(bootstrap: str, name: str) -> None:
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])[name].result(TIMEOUT_S)


def produce(bootstrap: str, topic: str, values: Iterable[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    failures: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(TIMEOUT_S) == 0
    assert failures == []


def consume(bootstrap: str, topic: str) -> list[bytes]:
    """Every record of the topic's only partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=TIMEOUT_S)
        consumer.assign([TopicPartition(topic, 0, 0)])
        records = consumer.consume(end, timeout=TIMEOUT_S)
        assert [record.error() for record in records] == [None] * end
        return [record.value() for record in records]
    finally:
        consumer.close()


def running(pid: int) -> bool:
    """Whether the process exists and is more than a corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.02)


def test_records_are_read_back(kafka: Broker, prefix: str) -> None:
    create_topic(kafka.bootstrap, prefix)
    produce(kafka.bootstrap, prefix, [b"a", b"b"])
    assert consume(kafka.bootstrap, prefix) == [b"a", b"b"]


def test_a_missing_topic_is_not_made_up(kafka: Broker, prefix: str) -> None:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert client.list_topics(prefix, timeout=TIMEOUT_S).topics[prefix].error is not None
    assert prefix not in client.list_topics(timeout=TIMEOUT_S).topics


def test_records_survive_a_crash_and_a_restart_at_the_same_address(own_kafka: Callable[..., Broker], prefix: str) -> None:
    broker = own_kafka()
    address, first_pid = broker.bootstrap, broker.pid
    create_topic(address, prefix)
    produce(address, prefix, [b"before the crash"])

    broker.kill()
    assert broker.pid is None
    assert first_pid is not None
    assert not running(first_pid)
    broker.start()
    assert broker.pid != first_pid
    assert broker.bootstrap == address
    produce(address, prefix, [b"between"])

    broker.stop()
    assert broker.pid is None
    broker.start()
    assert consume(address, prefix) == [b"before the crash", b"between"]


def test_a_property_that_kafka_refuses_is_shown_with_the_log(own_kafka: Callable[..., Broker]) -> None:
    with pytest.raises(BrokerError, match=r"(?s)log.segment.bytes.*at least"):
        own_kafka({"log.segment.bytes": "1"})


def test_starting_twice_is_refused(kafka: Broker) -> None:
    pid = kafka.pid
    with pytest.raises(BrokerError, match="already running"):
        kafka.start()
    assert kafka.pid == pid


def test_a_taken_port_is_named(kafka: Broker, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=f"127.0.0.1:{kafka.port} is taken"):
        Broker(tmp_path, port=kafka.port).start()


@pytest.mark.chaos
def test_the_broker_does_not_outlive_a_killed_starter(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from deploy.kafka.broker import Broker
broker = Broker(Path({str(tmp_path)!r}))
broker.start()
print(broker.pid, flush=True)
broker.wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=SCRIPT.parents[2], text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert running(pid)
        starter.kill()
        starter.wait()
    wait_for(lambda: not running(pid))


def test_the_foreground_broker_prints_its_address_and_cleans_up(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as foreground:
        assert foreground.stdout is not None
        address = foreground.stdout.readline().strip()
        assert AdminClient({"bootstrap.servers": address}).list_topics(timeout=TIMEOUT_S).brokers
        assert list(tmp_path.iterdir())
        foreground.send_signal(signal.SIGINT)
        assert foreground.wait(TIMEOUT_S) == 0
    assert list(tmp_path.iterdir()) == []
    assert not launcher._is_open(int(address.rpartition(":")[2]))


def test_the_foreground_broker_keeps_a_directory_that_was_named(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as foreground:
        assert foreground.stdout is not None
        assert foreground.stdout.readline().startswith("127.0.0.1:")
        foreground.terminate()
        assert foreground.wait(TIMEOUT_S) == 0
    assert (tmp_path / "log" / "meta.properties").exists()
