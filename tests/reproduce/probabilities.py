"""P(best) by this project's quadrature beside 16-point quadrature with the distribution functions on the grid."""

from __future__ import annotations

import numpy as np

from allocator import prob_best_beta, prob_best_normal
from tests.quadrature_oracle import betas, normals
from tests.reproduce.rows import Answer, Row, Study, exactly

__all__ = ["STUDIES"]

SECTION = "Probability of being best"
ARMS, UNITS = (2, 10, 50), (1e2, 1e4, 1e7)
SPREADS = (0.0, 1.5)
"""Standard errors from the middle within which the arms lie."""
RATE = 0.1


def errors(_runs: int, seed: int) -> Answer:
    """The largest error of any arm over numbers of arms, units an arm, and spreads."""
    rng = np.random.default_rng(seed)
    beta, normal, total = 0.0, 0.0, 0.0
    for arms in ARMS:
        for units in UNITS:
            for spread in SPREADS:
                sd = (RATE * (1 - RATE) / units) ** 0.5
                mean = RATE + sd * rng.uniform(-spread, spread, arms)
                a, b = 1 + mean * units, 1 + (1 - mean) * units
                found = prob_best_beta(a, b)
                total = max(total, abs(float(found.sum()) - 1))
                beta = max(beta, float(np.abs(found - betas(a, b).prob_best()).max()))
                sds = np.full(arms, sd)
                normal = max(normal, float(np.abs(prob_best_normal(mean, sds) - normals(mean, sds).prob_best()).max()))
    return {"beta": exactly(beta), "normal": exactly(normal), "total": exactly(total)}


ROWS = (
    Row("beta", "largest error, betas", 1e-9, 0.0, "16-point quadrature with betainc", "C", "≤"),
    Row("normal", "largest error, normals", 1e-9, 0.0, "16-point quadrature with ndtr", "C", "≤"),
    Row("total", "|Σ p − 1|, betas", 5e-9, 0.0, "16-point quadrature with betainc", "C", "≤"),
)
HOW = "computed: 2, 10 and 50 arms, 100 to 1e7 units an arm"
STUDIES: tuple[Study, ...] = (Study("prob-best", SECTION, HOW, ROWS, errors, 1, 1, 3.0),)
