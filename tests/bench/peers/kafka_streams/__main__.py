"""Peer: the join as Kafka Streams has it, in Java: one thread, exactly_once_v2, a commit a second.

The topology is in `src/Job.java`: units in RocksDB with a changelog, duplicates dropped, early rewards waiting, totals an arm by
partition ten times a second, summed by a second stage, which stands for our allocate agent. It keeps one metric as plain sums and
knows no propensities, segments, periods, corrections, crossovers, dead letters or windows. Where a setting matters it has the one
that was found to help (`Job.settings`), not the default; at the end of the log it commits at once.

Measured from outside, as this worker is. The clock starts with the first event processed: joining the group and the first fetch
are not in it (with this worker they are). It stops when committed totals that count every event have reached a reader of the
topic between the stages. CPU is of the whole process and for the same time. The sums are those that the second stage publishes.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import msgspec
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.kafka import broker
from tests.bench.cache import built, call
from tests.bench.following import await_sum, following
from tests.bench.protocol import Job, Measured, Sums, cpu_s, peak_rss_mib, run_job

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
JVM_OPTIONS = ("-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
COUNT_TIMEOUT_S = 240.0
SUMMED_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0


class Arm(msgspec.Struct):
    """Totals of one arm."""

    n: int
    sum: float


class Totals(msgspec.Struct):
    """What both stages publish."""

    events: int
    arms: dict[str, Arm]


class FirstEvent(msgspec.Struct):
    """What the program says once: seconds since the epoch, and CPU seconds used until then."""

    first_event_at: float
    cpu_s: float


def join_all(job: Job) -> Measured:
    """Run the topology until its totals account for all events."""
    application = f"{job.prefix}-kafka-streams-{secrets.token_hex(3)}"
    parts, totals = f"{application}.parts", f"{application}.totals"
    admin = AdminClient({"bootstrap.servers": job.bootstrap})
    for made in admin.create_topics([NewTopic(parts, 1, 1), NewTopic(totals, 1, 1)]).values():
        made.result()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(_command(job, application, directory), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            counted = await_sum(job.bootstrap, parts, job.events, _events, COUNT_TIMEOUT_S, lambda: _check(process))
            ended_at, cpu = time.time(), cpu_s(process.pid)
            assert process.stdin is not None
            assert process.stdout is not None
            first = msgspec.json.decode(process.stdout.readline(), type=FirstEvent)
            sums = _sums(job.bootstrap, totals, counted)
            rss_mib = peak_rss_mib(process.pid)
            process.stdin.close()
            process.wait(STOP_TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
    return Measured(events=counted, seconds=ended_at - first.first_event_at, cpu_s=cpu - first.cpu_s, rss_mib=rss_mib, sums=sums)


def _command(job: Job, application: str, directory: str) -> list[str]:
    classes = built("kafka-streams-peer", [broker.POM, POM, *sorted((HERE / "src").glob("*.java"))], _build)
    java = Path(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else "java"
    path = f"{classes / 'classes'}:{classes / 'jars'}/*"
    return [str(java), *JVM_OPTIONS, "-cp", path, "Job", job.bootstrap, job.prefix, application, directory, str(job.events)]


def _build(to: Path) -> None:
    """Compile, and copy the jars beside the classes."""
    kafka = ElementTree.parse(broker.POM).findtext(".//{*}kafka.version")
    goals = ("compile", "dependency:copy-dependencies", f"-DoutputDirectory={to / 'jars'}")
    call(["mvn", "-B", "-q", "-f", str(POM), f"-Dkafka.version={kafka}", f"-Dbuilt={to}", *goals])


def _events(message: Message) -> int:
    return msgspec.json.decode(message.value() or b"", type=Totals).events


def _check(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise SystemExit(f"Kafka Streams ended with {process.returncode}")


def _sums(bootstrap: str, topic: str, events: int) -> Sums:
    """The totals published for that many events; the newest ones if those do not come."""
    sums: Sums = {}
    deadline = time.monotonic() + SUMMED_TIMEOUT_S
    with following(bootstrap, topic) as consumer:
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None or message.error() is not None:
                continue
            totals = msgspec.json.decode(message.value() or b"", type=Totals)
            sums = {}
            for name, arm in totals.arms.items():
                experiment, _, of = name.partition("/")
                sums.setdefault(experiment, {})[of] = [arm.n, int(arm.sum)]
            if totals.events == events:
                break
    return sums


if __name__ == "__main__":
    run_job(join_all)
