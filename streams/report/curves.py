"""What is drawn of a posterior and of the past: densities, and the shares as they were published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from allocator.posterior import Posteriors
from streams.records import Decision
from streams.report.record import Curve, PublicationRow

__all__ = ["densities", "history"]

HISTORY_MAX = 400
"""Publications that are kept, evenly: more than a chart has pixels for."""
_TAILS = scipy.special.ndtr(np.linspace(-3.2, -0.05, 40))


def densities(posteriors: Posteriors) -> list[Curve]:
    """Of every arm of which something is known, whatever the family: from its quantiles, which intervals at many levels are."""
    both = np.stack([posteriors.interval(1 - 2 * float(p)) for p in _TAILS])  # shape (tails, arms, 2)
    quantiles = np.concatenate([both[:, :, 0], both[::-1, :, 1]])
    p = np.concatenate([_TAILS, 1 - _TAILS[::-1]])
    curves = []
    for k, arm in enumerate(posteriors.arms):
        q = quantiles[:, k]
        width = np.diff(q)
        if np.all(np.isfinite(q)) and np.all(width > 0):
            curves.append(Curve(arm=arm, x=((q[1:] + q[:-1]) / 2).tolist(), y=(np.diff(p) / width).tolist()))
    return curves


def history(decisions: Sequence[Decision]) -> list[PublicationRow]:
    """The publications at which shares changed, and the first and last one."""
    rows = [
        PublicationRow(ts=decision.ts, version=decision.version, ppm={arm.id: arm.ppm for arm in decision.arms})
        for decision in decisions
    ]
    kept = [row for i, row in enumerate(rows) if i in (0, len(rows) - 1) or row.ppm != rows[i - 1].ppm]
    if len(kept) <= HISTORY_MAX:
        return kept
    return [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, HISTORY_MAX).round().astype(int)).tolist()]
