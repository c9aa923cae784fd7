"""What dead letters are told apart by: the field at fault, and the reason without what differs from record to record."""

from __future__ import annotations

import re

__all__ = ["pattern", "reason_class"]

REASON_FIELDS = frozenset({"arm", "experiment", "key", "metric", "ts", "unit", "value"})
NAMING = frozenset({"arm", "experiment", "metric"})
"""Fields whose value says what to mend, so that it stays in the pattern."""

LITERAL = re.compile(r"""b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*"|(?<![\w.])-?(?:\d[\w.+-]*|inf|nan)\b""")
VALUE = re.compile(r"^value: \S+:")
POSITION = re.compile(r"\(byte \d+\)")


def reason_class(reason: str) -> str:
    """The field a dead letter's reason begins with, or ``malformed``: few values, whatever producers send."""
    field = reason.partition(":")[0]
    return field if field in REASON_FIELDS else "malformed"


def pattern(reason: str) -> str:
    """The reason with ``…`` for what says nothing of the cause: ``unit: 'u': has 64 rewards`` is ``unit: …: has … rewards``."""
    found = reason_class(reason)
    if found in NAMING:
        return reason
    if found == "malformed":
        return POSITION.sub("(byte …)", reason)
    if found == "value":
        return VALUE.sub("value: …:", reason)  # what was expected instead stays
    return LITERAL.sub("…", reason)
