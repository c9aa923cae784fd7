"""Track-and-stop: the proportions that tell the best arm soonest, and the word when it has been told.

Garivier & Kaufmann (2016), "Optimal best arm identification with fixed confidence", COLT; the mathematics is in
`characteristic_time`. For an answer with an error bound, where earning meanwhile does not matter. Keep a floor: an arm that
starts badly would else be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.policies.characteristic_time import Bernoulli, Laws, Normal, evidence, optimal_proportions
from allocator.policies.domains import require_number
from allocator.policies.protocol import Choice, Context, Verdict, needed
from allocator.posterior import BetaPosteriors, Posteriors
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = ["TrackAndStop"]

METHOD = "generalised likelihood ratio against ln((1 + ln t) / δ), Garivier & Kaufmann (2016)"
ASSUMED = (
    "An arm's rewards are independent and their law does not change.",
    "The threshold is the one the authors simulate with; their proof needs the larger ln(2 t (K - 1) / δ).",
    "A unit without a reward has the value 0.",
)
ASSUMED_NORMAL = "An arm's mean is normal with the variance found so far."


@dataclass(frozen=True, slots=True)
class TrackAndStop:
    """w*(μ̂), of which a part that shrinks is spread evenly: (1 - K ε) w* + ε with ε = ½ / √(K² + t), t units so far.

    ε is the source's forced exploration (§3.1), which keeps every estimate honest; as the weights of all times are followed in
    turn, the realised proportions track the mean of them. Binary objectives are told apart by the Bernoulli divergence, others
    by the normal one, each arm with the variance it has shown.

    Parameters
    ----------
    delta : in (0, 1), chance that the arm named at the end is not the best.
    """

    delta: float = 0.05

    def __post_init__(self) -> None:
        require_number("delta", self.delta, "a number between 0 and 1, both excluded", lambda x: 0.0 < x < 1.0)

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1. Needs the context."""
        context = needed(context)
        samples, arms = context.samples(context.moments), len(posteriors.arms)
        best = np.full(arms, 1 / arms)
        if (laws := _shrunk(posteriors, samples)) is not None:
            best, _ = optimal_proportions(laws)
        forced = 0.5 / float(np.sqrt(arms**2 + samples.n.sum()))
        return np.asarray((1.0 - arms * forced) * best + forced)

    def stop(self, posteriors: Posteriors, context: Context) -> Verdict:
        """Whether the best arm is told apart from every other one."""
        samples = context.samples(context.moments)
        units, binary = float(samples.n.sum()), isinstance(posteriors, BetaPosteriors)
        threshold = float(np.log((1.0 + np.log(max(1.0, units))) / self.delta))
        laws = _observed(posteriors, samples)
        best, ratio = (0, 0.0) if laws is None else evidence(laws, samples.n)
        return Verdict(
            arm=posteriors.arms[best],
            statistic=ratio,
            threshold=threshold,
            stop=ratio > threshold,
            method=METHOD,
            assumptions=ASSUMED if binary else (*ASSUMED, ASSUMED_NORMAL),
        )

    def choose(self, posteriors: Posteriors, context: Context | None = None) -> Choice:
        """The weights with the verdict."""
        context = needed(context)
        verdict = self.stop(posteriors, context)
        told = "sure of" if verdict.stop else "not sure of"
        note = f"{told} {verdict.arm} at δ = {self.delta:g}: evidence {verdict.statistic:.3g} of {verdict.threshold:.3g}"
        return Choice(self.weights(posteriors, context), note=note, verdict=verdict)


def _shrunk(posteriors: Posteriors, samples: Samples) -> Laws | None:
    """The laws that the posterior means belong to: never quite 0 or 1, and known for an arm without units."""
    if isinstance(posteriors, BetaPosteriors):
        return Bernoulli(1.0 - posteriors.mean if posteriors.down else posteriors.mean)
    return _normal(posteriors, samples, posteriors.mean - samples.origin)


def _observed(posteriors: Posteriors, samples: Samples) -> Laws | None:
    """The laws of the empirical means."""
    mean = np.divide(samples.total, samples.n, out=np.zeros_like(samples.total), where=samples.n > 0)
    if isinstance(posteriors, BetaPosteriors):
        return Bernoulli(1.0 - mean if posteriors.down else mean)
    return _normal(posteriors, samples, mean)


def _normal(posteriors: Posteriors, samples: Samples, mean: FloatArray) -> Normal | None:
    """In units in which the variance of all units together is 1; every arm's own is drawn towards that by one unit.

    None where all units are alike, or there are none.
    """
    n, units = samples.n, float(samples.n.sum())
    if units == 0.0:
        return None
    own = np.divide(samples.total, n, out=np.zeros_like(n), where=n > 0)
    middle = float(samples.total.sum()) / units
    variance = float((samples.squares + n * (own - middle) ** 2).sum()) / units
    if variance <= 0.0:
        return None
    sign = -1.0 if posteriors.down else 1.0
    return Normal(sign * mean / np.sqrt(variance), (samples.squares / variance + 1.0) / (n + 1.0))
