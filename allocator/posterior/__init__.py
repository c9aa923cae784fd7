"""What the moments of every arm say about one metric: a posterior of its mean, an arm.

`posteriors_of` picks the family from the metric's type, one family a file. A family knows its means, its intervals and, by
`allocator.quadrature`, which arm is the best; policies see nothing else, so a new family needs no new policy.
"""

from allocator.posterior.beta import BetaPosteriors
from allocator.posterior.family import posteriors, posteriors_of
from allocator.posterior.gamma import GammaPosteriors
from allocator.posterior.normal import NormalPosteriors
from allocator.posterior.protocol import Posteriors
from allocator.posterior.student import StudentPosteriors

__all__ = [
    "BetaPosteriors",
    "GammaPosteriors",
    "NormalPosteriors",
    "Posteriors",
    "StudentPosteriors",
    "posteriors",
    "posteriors_of",
]
