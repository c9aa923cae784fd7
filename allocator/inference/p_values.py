"""p-values that stay valid however often one looks: the inverse of an e-process.

By Ville's inequality an e-process of a true hypothesis ever reaches 1/alpha with probability at most alpha, so 1/e is a p-value
at any stopping time (Johari, Koomen, Pekelis & Walsh 2022; Ramdas, Grünwald, Vovk & Shafer 2023). Every anytime interval here
is the set of values whose e-process is below 1/alpha: it excludes a value exactly when that value's p is at most alpha.

Not the smallest p so far: where the difference drifts, the hypothesis of today is not that of yesterday.
"""

from __future__ import annotations

from math import exp

__all__ = ["always_valid"]

LOG_E_MAX = 700.0
"""e^700 is still a float."""


def always_valid(log_e: float) -> tuple[float, float]:
    """p-value, in (0, 1], and e-value, from the logarithm of the e-process now."""
    return exp(-min(max(log_e, 0.0), LOG_E_MAX)), exp(min(log_e, LOG_E_MAX))
