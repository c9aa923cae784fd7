"""What the data say, and what it takes to know: each result names its method and its assumptions."""

from allocator.delay import PRIOR_LAGS, DelayDistribution, beta_of_delayed, delayed_samples, effective_units, lag_edges
from allocator.inference.adjusted_effects import AdjustedEffect, adjusted_effects
from allocator.inference.baselines import Baseline, Count, Mean, Proportion, Ratio
from allocator.inference.cuped import AdjustedMeans, Slopes, adjusted_means
from allocator.inference.differences import differences
from allocator.inference.effects import EffectTable, effects_by_period
from allocator.inference.estimate import Estimate
from allocator.inference.fixed_horizon import fixed_differences, fixed_lifts
from allocator.inference.guardrail_power import EarlyDetection, early_detection
from allocator.inference.lifts import lifts
from allocator.inference.means import means
from allocator.inference.multiplicity import Discoveries, bonferroni, e_benjamini_hochberg
from allocator.inference.novelty import NoveltyResult, Verdict, novelty
from allocator.inference.observations import Observations
from allocator.inference.policy_power import SimulatedPower, SimulatedRuns, simulated_power
from allocator.inference.power import (
    Design,
    Duration,
    Plan,
    Traffic,
    detectable_effect,
    duration,
    even_shares,
    power_of,
    sample_size,
)
from allocator.inference.propensity import (
    InversePropensityCheck,
    VersionCheck,
    VersionDeviation,
    check_inverse_propensities,
    check_versions,
)
from allocator.inference.splits import Split, splits_of, usable_share
from allocator.inference.srm import SRM_KAPPA, SrmResult, SrmState
from allocator.inference.tree_effects import NodeEffect, metric_effects, tree_effects

__all__ = [
    "PRIOR_LAGS",
    "SRM_KAPPA",
    "AdjustedEffect",
    "AdjustedMeans",
    "Baseline",
    "Count",
    "DelayDistribution",
    "Design",
    "Discoveries",
    "Duration",
    "EarlyDetection",
    "EffectTable",
    "Estimate",
    "InversePropensityCheck",
    "Mean",
    "NodeEffect",
    "NoveltyResult",
    "Observations",
    "Plan",
    "Proportion",
    "Ratio",
    "SimulatedPower",
    "SimulatedRuns",
    "Slopes",
    "Split",
    "SrmResult",
    "SrmState",
    "Traffic",
    "Verdict",
    "VersionCheck",
    "VersionDeviation",
    "adjusted_effects",
    "adjusted_means",
    "beta_of_delayed",
    "bonferroni",
    "check_inverse_propensities",
    "check_versions",
    "delayed_samples",
    "detectable_effect",
    "differences",
    "duration",
    "e_benjamini_hochberg",
    "early_detection",
    "effective_units",
    "effects_by_period",
    "even_shares",
    "fixed_differences",
    "fixed_lifts",
    "lag_edges",
    "lifts",
    "means",
    "metric_effects",
    "novelty",
    "power_of",
    "sample_size",
    "simulated_power",
    "splits_of",
    "tree_effects",
    "usable_share",
]
