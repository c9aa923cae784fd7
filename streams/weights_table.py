"""The weights in force as published: the weights topic read as a table. Versions never go back."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from allocator.weights import Weights

__all__ = ["WeightsTable"]

log = logging.getLogger(__name__)

decode_weights = msgspec.json.Decoder(Weights).decode


class WeightsTable:
    """Keeps `weights` at the newest version of every experiment."""

    def __init__(self, weights: dict[str, Weights]) -> None:
        self.weights = weights

    def take(self, record: Any) -> None:
        """Take over one record of the topic; a malformed one is logged and the former weights stay."""
        name = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self.weights.pop(name, None)
            return
        try:
            weights = decode_weights(record.value)
        except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
            log.error("%s, offset %d: %r is not weights, the former ones stay: %s", record.topic, record.offset, name, error)
            return
        former = self.weights.get(name)
        if former is None or weights.version > former.version:
            self.weights[name] = weights
