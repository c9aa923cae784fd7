"""The objective over all segments where each segment has weights of its own.

Then an arm's units come from the segments that like it, and its pooled mean says more of them than of it. What compares arms is
the mean had every segment got the arm: Σ_s q_s μ_ks, with q_s the segment's share of all units (`inference.simpson` has the
sources). Segments' posteriors are independent, so its variance is Σ_s q_s² sd_ks²; it is taken for normal.
"""

from __future__ import annotations

import numpy as np

from allocator.decide import slices_of
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.policies import Context
from allocator.posterior import NormalPosteriors, Posteriors

__all__ = ["StandardisedPosteriors", "comparable_posteriors"]


class StandardisedPosteriors(NormalPosteriors):
    """Normal posteriors of means over segments."""

    method = "segments' posteriors weighed by their units, by their normal limit"
    assumptions = (
        "units are independent",
        "in a segment each arm's mean is the same for every unit",
        "segments keep their shares",
    )


def comparable_posteriors(experiment: Experiment, evidence: Evidence, now: float) -> Posteriors:
    """Of the objective, fair between arms: the pooled ones, or standardised where segments have weights of their own.

    Parameters
    ----------
    now : seconds since the epoch.
    """
    whole = Context.of(experiment, evidence, now)
    units = {name: sum(m.n for m in cells) for name, cells in evidence.by_segment.items()}
    known = [name for name, n in units.items() if n]
    pooled = whole.posteriors()
    if len(slices_of(experiment)) == 1 or len(known) < 2:
        return pooled
    q = np.array([units[name] for name in known], dtype=float)
    q /= q.sum()
    found = [Context.of(experiment, evidence, now, name, whole).posteriors() for name in known]
    mean, sd = np.stack([p.mean for p in found]), np.stack([p.sd for p in found])
    if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(sd))):
        return pooled
    return StandardisedPosteriors(experiment.arm_ids, q @ mean, np.sqrt((q**2) @ (sd**2)), pooled.down)
