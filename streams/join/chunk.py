"""Fold one chunk: what the join and a rebuild of it do alike."""

from __future__ import annotations

from collections.abc import Sequence

from streams.join.decode import Events
from streams.join.fold import Fold
from streams.join.sweep import LOOKS_PER_EVENT, Sweep
from streams.records import Exposure, Reward
from streams.state.store import Store, escape_all

__all__ = ["fold_chunk"]


def fold_chunk(
    fold: Fold, store: Store, sweep: Sweep, exposures: Sequence[Events[Exposure]], rewards: Sequence[Events[Reward]]
) -> None:
    """Forget some units that can be, look the chunk's units up, fold all exposures and then all rewards.

    Nothing is written: `fold.end` has what changed.
    """
    keys = [batch.keys for batch in exposures] + [batch.keys for batch in rewards]
    fold.evict(sweep.stale(fold.watermark, fold.horizon_s, LOOKS_PER_EVENT * sum(map(len, keys))))
    units = list(set().union(*keys))
    fold.begin(dict(zip(units, store.get_many(escape_all(units)), strict=True)))
    for exposed in exposures:
        fold.exposures(exposed)
    for rewarded in rewards:
        fold.rewards(rewarded)
