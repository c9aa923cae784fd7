"""What stands between a policy's weights and publication: bounds on every share, then bounds on their change, then whole ppm.

1. reserved share: the control has at least this much; what the others give up they give in proportion. (The holdback is
   another thing: units kept on control before any weights apply, which train nothing.)
2. floor: f + (1 - K f) w.
3. cap: no arm has more; what is cut goes to the others in proportion.
4. maximum shift, from the previous shares.
5. dead-band, judged on the change that 1 to 3 want, not on the one that 4 allows: with a maximum shift below the dead-band
   the shares would never move.
6. whole ppm, by largest remainder.

1 to 3 never undo each other: 1 aims so high that 2 leaves the reserved share whole, and 3 only takes from arms above the cap,
which is at least the reserved share.

Shares are arrays of shape (arms,), non-negative, sum 1. `allocator.steps` applies these; nothing here knows an experiment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.quadrature import FloatArray
from allocator.weights import PPM

__all__ = ["capped", "least_shares", "lifted", "limited", "to_ppm", "to_shares", "with_floor", "with_reserved"]


def with_reserved(weights: FloatArray, control: int, reserved: float, floor: float = 0.0) -> FloatArray:
    """`weights` with the control raised so that it has at least `reserved` once `with_floor` has been applied.

    Parameters
    ----------
    control : its place among the arms.
    reserved : least share of the control, at most 1 - (K - 1) floor.
    floor : in [0, 1/K].
    """
    free = 1.0 - len(weights) * floor
    if len(weights) == 1 or free <= 0.0:
        return weights
    wanted = min(1.0, (reserved - floor) / free)
    if weights[control] >= wanted:
        return weights
    others = 1.0 - float(weights[control])
    raised = weights * ((1.0 - wanted) / others)
    raised[control] = wanted
    return raised


def with_floor(weights: FloatArray, floor: float) -> FloatArray:
    """f + (1 - K f) w: every arm has at least f, and what is left follows the policy. floor in [0, 1/K].

    Additive, because clipping and renormalising would push arms just above the floor below it.
    """
    return floor + max(0.0, 1.0 - len(weights) * floor) * weights


def capped(shares: FloatArray, cap: float) -> FloatArray:
    """`shares` with no arm above the cap, in [1/K, 1]. What is cut goes to the others in proportion, evenly if they have none."""
    if float(shares.max()) <= cap:
        return shares
    over = np.zeros(len(shares), dtype=bool)
    out = shares
    while np.any(out[~over] > cap):  # each round caps at least one more arm
        over |= out > cap
        left = 1.0 - cap * int(over.sum())
        rest = float(shares[~over].sum())
        spread = shares * (left / rest) if rest > 0.0 else np.full(len(shares), left / max(1, int((~over).sum())))
        out = np.where(over, cap, spread)
    return np.asarray(out)


def least_shares(arms: int, control: int, reserved: float, floor: float) -> FloatArray:
    """The least share of every arm, shape (arms,): the floor, and for the control the reserved share if that is more."""
    least = np.full(arms, floor)
    least[control] = max(floor, reserved)
    return least


def lifted(shares: FloatArray, least: FloatArray | float) -> FloatArray:
    """`shares` with every arm below its least share raised to it; the others pay in proportion to what they have above theirs.

    Parameters
    ----------
    least : shape (arms,) or one for all, sum at most 1.
    """
    missing = float(np.maximum(least - shares, 0.0).sum())
    spare = np.maximum(shares - least, 0.0)
    total = float(spare.sum())
    if missing == 0.0 or total == 0.0:  # what is missing where nothing is to spare is a rounding
        return shares
    return np.asarray(least + spare * max(0.0, 1.0 - missing / total))


def limited(shares: FloatArray, target: FloatArray, max_shift: float) -> FloatArray:
    """From `shares` straight towards `target`, stopping where the first arm has changed by `max_shift`. The sum stays 1."""
    change = target - shares
    largest = float(np.abs(change).max())
    return target if largest <= max_shift else shares + change * (max_shift / largest)


def to_ppm(shares: FloatArray) -> tuple[int, ...]:
    """Whole parts per million that sum to 1 000 000, by largest remainder; ties go to the earlier arm."""
    exact = shares * (PPM / float(shares.sum()))
    near = np.rint(exact)
    exact = np.where(np.abs(exact - near) < 1e-6, near, exact)  # 0.29 · 1e6 is 290 000, not 289 999.99999999994
    whole = np.floor(exact)
    order = np.argsort(whole - exact, kind="stable")
    left = PPM - int(whole.sum())
    whole[order[:left]] += 1
    return tuple(int(ppm) for ppm in whole)


def to_shares(ppm: Sequence[int]) -> FloatArray:
    """Shares from parts per million."""
    return np.array(ppm, dtype=np.float64) / PPM
