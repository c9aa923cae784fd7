"""What the data say, and what it takes to know: each result names its method and its assumptions."""

from allocator.inference.baselines import Baseline, Count, Mean, Proportion, Ratio
from allocator.inference.guardrail_power import EarlyDetection, early_detection
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
from allocator.inference.splits import Split, splits_of, usable_share

__all__ = [
    "Baseline",
    "Count",
    "Design",
    "Duration",
    "EarlyDetection",
    "Mean",
    "Plan",
    "Proportion",
    "Ratio",
    "SimulatedPower",
    "SimulatedRuns",
    "Split",
    "Traffic",
    "detectable_effect",
    "duration",
    "early_detection",
    "even_shares",
    "power_of",
    "sample_size",
    "simulated_power",
    "splits_of",
    "usable_share",
]
