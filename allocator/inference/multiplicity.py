"""Many arms and metrics, one error rate: which of them may be called different.

- e-BH (Wang & Ramdas 2022, JRSS B 84(3)): the share of false discoveries is at most alpha in expectation, whatever the dependence
  between arms and metrics. The k largest e-values are discoveries for the largest k with e_(k) ≥ m / (alpha k).
- Bonferroni: any false discovery at all has probability at most alpha. p ≤ alpha / m.

Arms share control and metrics share units, so nothing that asks for independence is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.errors import ArgumentError
from allocator.inference.boundaries import log_threshold
from allocator.inference.estimate import Estimate

__all__ = ["Discoveries", "bonferroni", "e_benjamini_hochberg"]


@dataclass(frozen=True, slots=True)
class Discoveries:
    """Which of many differences are called.

    Parameters
    ----------
    estimates : as given.
    discovered : whether each is called different from 0.
    alpha : the error rate that `method` keeps.
    interval_alpha : intervals computed at this alpha, of the discoveries (e-BH) or of all (Bonferroni), keep the same error rate.
    method, assumptions : as in `Estimate`; those of the estimates come first.
    """

    estimates: tuple[Estimate, ...]
    discovered: tuple[bool, ...]
    alpha: float
    interval_alpha: float
    method: str
    assumptions: tuple[str, ...]


def e_benjamini_hochberg(estimates: Sequence[Estimate], alpha: float = 0.05) -> Discoveries:
    """False discovery rate at most alpha at any stopping time. The intervals of the discoveries at alpha · discoveries / m miss
    a share of at most alpha of their truths in expectation (Xu, Wang & Ramdas 2022, arXiv 2203.12572).

    Raises
    ------
    ArgumentError : alpha is outside (0, 1), or an estimate has no e-value: it is a mean or of fixed horizon.
    """
    log_threshold(alpha)
    e_values = [_needed(estimate.e_value, estimate, "an e-value") for estimate in estimates]
    m = len(e_values)
    ordered = sorted(e_values, reverse=True)
    found = max((k for k in range(1, m + 1) if ordered[k - 1] * alpha * k >= m), default=0)
    least = ordered[found - 1] if found else float("inf")
    return Discoveries(
        tuple(estimates),
        tuple(e >= least for e in e_values),
        alpha,
        alpha * max(found, 1) / max(m, 1),
        f"e-BH over {m} comparisons: false discovery rate at most {alpha:g}",
        (*_assumptions(estimates), "every comparison that was looked at is in the list"),
    )


def bonferroni(estimates: Sequence[Estimate], alpha: float = 0.05) -> Discoveries:
    """Probability of any false discovery at most alpha: at any stopping time for anytime estimates, else once.

    Raises
    ------
    ArgumentError : alpha is outside (0, 1), or an estimate has no p-value: it is a mean.
    """
    log_threshold(alpha)
    p_values = [_needed(estimate.p_value, estimate, "a p-value") for estimate in estimates]
    level = alpha / max(len(p_values), 1)
    return Discoveries(
        tuple(estimates),
        tuple(p <= level for p in p_values),
        alpha,
        level,
        f"Bonferroni over {len(p_values)} comparisons: any false discovery with probability at most {alpha:g}",
        (*_assumptions(estimates), "every comparison that was looked at is in the list"),
    )


def _needed(value: float | None, estimate: Estimate, what: str) -> float:
    if value is None:
        raise ArgumentError("estimates", f"{estimate.quantity} of {estimate.arm} by {estimate.method}", f"estimates with {what}")
    return value


def _assumptions(estimates: Sequence[Estimate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentence for estimate in estimates for sentence in estimate.assumptions))
