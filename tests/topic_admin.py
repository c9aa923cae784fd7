"""What a platform team may do to topics: make, delete, make again, add partitions, forget old records."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.waiting import until

__all__ = ["TopicAdmin"]

TIMEOUT_S = 30.0


class TopicAdmin:
    """Each method returns when the broker has done it."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def make(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        new = NewTopic(topic, partitions, 1, config={"cleanup.policy": "compact" if compacted else "delete"})

        def made() -> bool:
            try:
                self._admin.create_topics([new])[topic].result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                return False  # the one before is still being deleted
            return True

        until(made, TIMEOUT_S)

    def delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result()

    def remake(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Delete it, and make another one of its name; the broker learns of it from its controller a little later."""
        former = self._id(topic)
        self.delete(topic)
        self.make(topic, partitions, compacted=compacted)
        until(lambda: self._id(topic) not in (None, former), TIMEOUT_S)

    def _id(self, topic: str) -> str | None:
        try:
            return str(self._admin.describe_topics(TopicCollection([topic]))[topic].result().topic_id)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            return None

    def add_partitions(self, topic: str, total: int) -> None:
        self._admin.create_partitions([NewPartitions(topic, total)])[topic].result()
        until(lambda: len(self._admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions) == total, TIMEOUT_S)

    def forget(self, topic: str, offset: int) -> None:
        """Have the broker delete what partition 0 has below `offset`."""
        self._admin.delete_records([TopicPartition(topic, 0, offset)])[TopicPartition(topic, 0)].result()

    def fill(self, topic: str, records: int) -> None:
        """Any records, to partition 0."""
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for _ in range(records):
            producer.produce(topic, b"{}", partition=0)
        assert producer.flush(TIMEOUT_S) == 0
