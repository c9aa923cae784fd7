"""Outcomes as counters: how they are called, and that those stored before an outcome was added are read."""

from __future__ import annotations

import msgspec

from streams.join.account import COUNTS_PREFIX
from streams.join.fold import Fold
from streams.join.outcomes import EXPOSURE_OUTCOMES, OUTCOMES, REWARD_OUTCOMES, Outcome, label


def test_every_outcome_is_of_exposures_or_of_rewards() -> None:
    assert sorted(EXPOSURE_OUTCOMES + REWARD_OUTCOMES) == list(range(OUTCOMES))
    assert label(Outcome.EXPOSURE_FORWARDED) == "exposures.forwarded"
    assert label(Outcome.REWARD_FORWARDED) == "rewards.forwarded"


def test_counters_from_before_an_outcome_was_added_are_taken_over() -> None:
    stored = {COUNTS_PREFIX + b"chat": msgspec.json.encode([3, 2, 1])}
    fold = Fold()
    fold.restore(lambda prefix: iter((k, v) for k, v in stored.items() if k.startswith(prefix)))
    assert fold.counts == {"chat": [3, 2, 1, *[0] * (OUTCOMES - 3)]}
    fold.count("chat", Outcome.REWARD_FORWARDED)
    assert fold.counts["chat"][Outcome.REWARD_FORWARDED] == 1
