"""What a worker says when it must end at once: what has happened, and what to do, in one sentence.

Whatever it is, nothing is lost: what was not committed is read again by whoever starts it.
"""

from __future__ import annotations

from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from allocator.errors import Fenced, StoreError

__all__ = ["GOES_ON", "last_words"]

GOES_ON = "restart it and it goes on from the last commit"
RESTORED = "restart the worker: it makes it anew from the changelog"
SMALLER = "give the worker a smaller --batch-bytes, or raise the brokers' message.max.bytes (the topics' max.message.bytes)"


def last_words(error: BaseException) -> str | None:
    """The sentence for this error; None if nobody has foreseen it, and the traceback says more."""
    match error:
        case Fenced():
            return f"{error}: this worker was away for too long and stops; restart it and it takes part again"
        case StoreError(path=path, reason=reason) if reason.startswith("Corruption"):
            return f"the worker stops, as its state in {path} is damaged ({reason}): remove that directory and {RESTORED}"
        case StoreError(path=path, reason=reason):
            return f"the worker stops, as the disk does not take its state in {path} ({reason}): make room, then {GOES_ON}"
        case MessageSizeTooLargeError():
            return f"the worker stops, as Kafka refuses a record batch as too large: {SMALLER}, then {GOES_ON}"
        case KafkaTimeoutError() | KafkaError(retriable=True) | TimeoutError():
            return f"the worker stops, as Kafka did not do what was asked in time ({error!r}): when it answers again, {GOES_ON}"
        case _:
            return None
