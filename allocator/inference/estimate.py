"""What inference says of one arm and one metric: a number, its interval, and what both rest on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Estimate", "Quantity"]

Quantity = Literal["mean", "difference", "lift"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One arm's mean, its difference from control, or its relative lift over control, in natural units.

    Parameters
    ----------
    arm : the arm spoken of.
    quantity : "mean" μ, "difference" μ - μ_control, or "lift" μ / μ_control - 1.
    estimate : nan where there is nothing to estimate it from.
    low, high : the interval, low ≤ high; infinite ends where a method refuses or nothing bounds the quantity.
    alpha : the interval misses the truth with at most this probability, at any time if `anytime`, else at one planned time.
    n : units the interval rests on.
    method : what was computed.
    assumptions : what must hold for `alpha` to be true, one short sentence each.
    anytime : whether looking as often as one likes, and stopping when one likes, costs nothing.
    p_value : of "the difference is 0"; None for a mean. The interval of a difference excludes 0 if and only if it is ≤ alpha.
    e_value : evidence against "the difference is 0", of expectation at most 1 under it at any stopping time. None for a mean
        and for fixed-horizon methods.
    against : the arm compared with; None for a mean.
    metric : its name, if given.
    refusal : why there is no interval, or why it is unbounded; empty if there is one.
    """

    arm: str
    quantity: Quantity
    estimate: float
    low: float
    high: float
    alpha: float
    n: int
    method: str
    assumptions: tuple[str, ...]
    anytime: bool = True
    p_value: float | None = None
    e_value: float | None = None
    against: str | None = None
    metric: str | None = None
    refusal: str = ""
