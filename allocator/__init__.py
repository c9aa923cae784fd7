"""The mathematics and the rules of the allocator: no Kafka, no asyncio, no clock, no files. Time comes in as an argument.

An `Experiment` is what an owner wrote, `Moments` are what was counted, `decide` makes `Weights` of both, `assign` makes an arm
of weights and a unit.
"""

from allocator.assignment import Assignment, assign
from allocator.decide import Decision, decide, decide_all
from allocator.errors import (
    AllocatorError,
    ArgumentError,
    Fenced,
    RecordError,
    SpecError,
    SpecErrors,
    StateError,
    TopicError,
    UnknownExperiment,
)
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import Moments
from allocator.quadrature import prob_best_beta, prob_best_normal
from allocator.spec import load_experiment
from allocator.weights import Weights

__all__ = [
    "AllocatorError",
    "ArgumentError",
    "Assignment",
    "Decision",
    "Evidence",
    "Experiment",
    "Fenced",
    "Moments",
    "RecordError",
    "SpecError",
    "SpecErrors",
    "StateError",
    "TopicError",
    "UnknownExperiment",
    "Weights",
    "assign",
    "decide",
    "decide_all",
    "load_experiment",
    "prob_best_beta",
    "prob_best_normal",
]
