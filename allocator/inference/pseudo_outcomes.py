"""One number a unit whose mean is an arm's mean, whoever got the arm and whatever steered the allocation.

With w = 1 / propensity, and 1_k for "got arm k", both of these have mean μ_k at every unit, given all units before it:

- importance-weighted: w 1_k y.
- augmented (AIPW): m_k + w 1_k (y - m_k), with a model m_k fixed before the period begins: the arm's mean over earlier periods,
  drawn by one unit's weight towards the mean of all arms. Its variance is that of y about m_k instead of about 0.

Robins, Rotnitzky & Zhao (1994) for independent units; under adaptive allocation the sums are martingales (Hadad, Hirshberg, Zhan,
Wager & Athey 2021, PNAS 118(15); Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro, arXiv 2210.10768, whose doubly robust
pseudo-outcomes these are without covariates). Over a period both are sums of n, y, w, w2, wy, w2y and w2y2, so that propensities
may differ from unit to unit.

Where means drift, the running mean of the pseudo-outcomes estimates the average, over all units so far, of the mean in force when
each came. That is the same average for every arm; sample means are not when allocation and drift move together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.inference.period_sums import PeriodSums
from allocator.quadrature import FloatArray

__all__ = ["Contrast", "Residuals", "before", "model", "residuals"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """What is estimated, one a column: every arm's mean, its difference from control, or control's mean on the same periods.

    Parameters
    ----------
    control : number of the control arm; None for the arms' own means.
    arm : 1 if the arm itself is in it, 0 if only control is.
    sign : of control's part: -1 in a difference, +1 for control's own mean.

    A period counts where the arm was present, and control too if there is one.
    """

    control: int | None = None
    arm: int = 1
    sign: int = -1

    @classmethod
    def of_control(cls, control: int) -> Contrast:
        """Control's mean, over the periods that each arm's difference rests on."""
        return cls(control, arm=0, sign=1)

    @property
    def size(self) -> int:
        """Arms in it."""
        return self.arm + (self.control is not None)

    @property
    def is_difference(self) -> bool:
        """Else a mean."""
        return self.size == 2

    def combined(self, same: FloatArray, mirrored: FloatArray) -> FloatArray:
        """The arm's `same` plus control's: `mirrored` in a difference, `same` otherwise."""
        if self.control is None:
            return same
        return self.arm * same + (mirrored if self.sign < 0 else same)[..., self.control, None]

    def signed(self, values: FloatArray) -> FloatArray:
        """The contrast of `values`: arm minus control in a difference."""
        return self.combined(values, -values)

    def counted(self, sums: PeriodSums, values: FloatArray) -> FloatArray:
        """`values`, shape (..., periods, arms or 1), with 0 in the periods that do not count; shape (..., periods, arms)."""
        mask = sums.present
        if self.control is not None:
            mask = mask & mask[..., self.control, None]
        return np.where(mask, values, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """The augmented pseudo-outcomes of every arm, period by period; shapes (..., periods, arms).

    Parameters
    ----------
    model : m_k.
    total : Σ w (y - m_k) over the arm's units.
    squares : Σ w² (y - m_k)².
    """

    model: FloatArray
    total: FloatArray
    squares: FloatArray


def residuals(sums: PeriodSums, first: float | None) -> Residuals:
    """See `Residuals`; `first` as in `model`."""
    m = model(sums, first)
    squares = sums.w2y2 - 2 * m * sums.w2y + m * m * sums.w2
    return Residuals(m, sums.wy - m * sums.w, np.maximum(squares, 0.0))


def model(sums: PeriodSums, first: float | None) -> FloatArray:
    """m_k of each period, shape (..., periods, arms).

    Parameters
    ----------
    first : m_k where no arm has earlier units. None: the mean over the period's own units of all arms, which is not fixed
        beforehand; over T pseudo-outcomes that moves the sum by the order of ln T, against noise of √T.
    """
    n, y = before(sums.n), before(sums.y)
    n_all, y_all = n.sum(axis=-1, keepdims=True), y.sum(axis=-1, keepdims=True)
    start = np.full_like(n_all, first) if first is not None else sums.y.sum(axis=-1, keepdims=True) / np.maximum(sums.units, 1.0)
    pooled = np.where(n_all > 0, y_all / np.maximum(n_all, 1.0), start)
    return np.asarray((y + pooled) / (n + 1.0))


def before(values: FloatArray) -> FloatArray:
    """Running sums over the periods before each one, axis -2."""
    total = np.zeros_like(values)
    np.cumsum(values[..., :-1, :], axis=-2, out=total[..., 1:, :])
    return total
