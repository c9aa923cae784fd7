"""Whoever reads the last line of a worker knows what to do."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, NotLeaderForPartitionError, OutOfOrderSequenceNumber

from allocator.errors import Fenced, StoreError
from streams.last_words import last_words


@pytest.mark.parametrize(
    "error,says",
    [
        (Fenced("join 3 has another owner"), "this worker was away for too long and stops; restart it"),
        (
            StoreError("/d/join-3", "IO error: No space left on device"),
            "/d/join-3 (IO error: No space left on device): make room",
        ),
        (StoreError("/d/join-3", "Corruption: bad magic"), "/d/join-3 is damaged (Corruption: bad magic): remove that directory"),
        (MessageSizeTooLargeError("x"), "smaller --batch-bytes, or raise the brokers' message.max.bytes"),
        (KafkaTimeoutError("batch"), "in time (KafkaTimeoutError('batch')): when it answers again"),
        (NotLeaderForPartitionError(), "when it answers again, restart it and it goes on from the last commit"),
        (TimeoutError(), "when it answers again, restart it and it goes on from the last commit"),
    ],
)
def test_what_has_happened_and_what_to_do(error: BaseException, says: str) -> None:
    sentence = last_words(error)
    assert sentence is not None
    assert says in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("error", [ValueError("7"), OutOfOrderSequenceNumber()])
def test_what_nobody_has_foreseen_has_a_traceback_instead(error: BaseException) -> None:
    assert last_words(error) is None
