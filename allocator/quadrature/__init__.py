"""Integrals over independent posteriors, one an arm: who is the best, who beats whom, what a choice is expected to lose.

`contests` says how and works for any family that says what `Densities` asks for. A family a file: betas on the log-odds line,
gammas on that of logarithms, normals and Student's t on that of the values. Pure numbers: nothing here knows metrics or moments.
"""

from allocator.quadrature.beta import Betas, prob_best_beta
from allocator.quadrature.contests import Contest, Even, contest
from allocator.quadrature.densities import Arms, Densities, Flipped, Shape, check_positive
from allocator.quadrature.gamma import Gammas, prob_best_gamma
from allocator.quadrature.normal import Normals, Students, prob_best_normal, prob_best_t
from allocator.quadrature.panels import FloatArray

__all__ = [
    "Arms",
    "Betas",
    "Contest",
    "Densities",
    "Even",
    "Flipped",
    "FloatArray",
    "Gammas",
    "Normals",
    "Shape",
    "Students",
    "check_positive",
    "contest",
    "prob_best_beta",
    "prob_best_gamma",
    "prob_best_normal",
    "prob_best_t",
]
