"""What dead letters are told apart by: the field at fault, and the reason without what differs from record to record."""

from __future__ import annotations

import re

__all__ = ["pattern", "reason_class"]

REASON_FIELDS = frozenset({"arm", "experiment", "key", "metric", "ts", "unit", "value"})
NAMING = frozenset({"arm", "experiment", "metric"})
"""Fields whose value says what to mend, so that it stays in the pattern."""

LITERAL = re.compile(r"""b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*"|(?<![\w.])-?(?:\d[\w.+-]*|inf|nan)\b""")
POSITION = re.compile(r"\(byte \d+\)")


def reason_class(reason: str) -> str:
    """The field a dead letter's reason begins with, or ``malformed``: few values, whatever producers send."""
    field = reason.partition(":")[0]
    return field if field in REASON_FIELDS else "malformed"


def pattern(reason: str) -> str:
    """The reason with ``…`` for values that say nothing of the cause: ``value: 7.0: expected 0 to 1`` is ``value: …: expected 0 to 1``."""
    found = reason_class(reason)
    if found in NAMING:
        return reason
    if found == "malformed":
        return POSITION.sub("(byte …)", reason)
    return LITERAL.sub("…", reason, count=1 if found == "value" else 0)
