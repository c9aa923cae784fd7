"""Policies: from posteriors to unconstrained weights. One class a file; names and owners' own classes are in `registry`."""

from allocator.policies.constrained import Constrained
from allocator.policies.discounted import DiscountedThompson
from allocator.policies.epsilon_greedy import EpsilonGreedy
from allocator.policies.exp3_ix import Exp3IX
from allocator.policies.exploration_sampling import ExplorationSampling
from allocator.policies.fixed import Fixed
from allocator.policies.linear_thompson import LinearThompson
from allocator.policies.per_segment import PerSegment
from allocator.policies.protocol import Choice, Context, Policy, Verdict, normalise
from allocator.policies.registry import POLICIES, Absent, chosen, per_segment, policy_of, register
from allocator.policies.sliding_window import SlidingWindowThompson
from allocator.policies.thompson import Thompson
from allocator.policies.top_two import TopTwoThompson
from allocator.policies.track_and_stop import TrackAndStop

__all__ = [
    "POLICIES",
    "Absent",
    "Choice",
    "Constrained",
    "Context",
    "DiscountedThompson",
    "EpsilonGreedy",
    "Exp3IX",
    "ExplorationSampling",
    "Fixed",
    "LinearThompson",
    "PerSegment",
    "Policy",
    "SlidingWindowThompson",
    "Thompson",
    "TopTwoThompson",
    "TrackAndStop",
    "Verdict",
    "chosen",
    "normalise",
    "per_segment",
    "policy_of",
    "register",
]
