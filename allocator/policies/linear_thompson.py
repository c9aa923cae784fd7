"""Linear Thompson on covariates: segments share what they have in common, as far as their features say so.

Agrawal & Goyal (2013), "Thompson sampling for contextual bandits with linear payoffs", ICML; a model of its own for each arm as
in Li, Chu, Langford & Schapire (2010). Contexts are a declared grid, one point a segment, so that weights stay publishable:
P(best) is computed at every point instead of drawn for every unit. For many small segments that differ along few lines (age,
activity, country by income); where nobody can say along which see `per_segment`.

With z_g = (1, features of segment g), an arm's units in segment g have mean z_gᵀθ. In units of the sd of all units together,
about their mean, and with the prior θ ~ N(0, prior_sd² I), the posterior from n_g and the means ȳ_g is normal:

    A = I / prior_sd² + Σ n_g z_g z_gᵀ / σ²,   θ̂ = A⁻¹ Σ n_g ȳ_g z_g / σ²,   and z_gᵀθ has mean z_gᵀθ̂ and variance z_gᵀA⁻¹z_g

σ² is the variance of units within their segment and arm, one for all, with a prior worth one unit.
Assumptions: segment means are linear in the features; σ² is known and the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import OTHER_SEGMENT
from allocator.policies.domains import is_number, require_number
from allocator.policies.protocol import Choice, Context, needed, normalise
from allocator.posterior import NormalPosteriors, Posteriors
from allocator.quadrature import FloatArray

__all__ = ["LinearThompson"]


@dataclass(frozen=True, slots=True)
class LinearThompson:
    """P(best) at the features of the segment; outside of segments at the mean of all units' features.

    Parameters
    ----------
    features : segment → numbers, as many for each, for every declared segment; without its own, `other` is served as the
        experiment is. Best between -1 and 1: the prior takes them as they are. A constant is added.
    prior_sd : > 0, sd of every coefficient a priori, in sd of a unit's value; smaller holds segments closer together.
    """

    features: Mapping[str, Sequence[float]]
    prior_sd: float = 1.0

    per_segment: ClassVar[bool] = True

    def __post_init__(self) -> None:
        expected = "a mapping from every segment to a list of finite numbers, as many for each"
        if not isinstance(self.features, Mapping) or not self.features:
            raise ArgumentError("features", self.features, expected)
        for segment, found in self.features.items():
            if not isinstance(found, (list, tuple)) or not all(is_number(x) for x in found):
                raise ArgumentError(f"features.{segment}", found, "a list of finite numbers")
        if len({len(found) for found in self.features.values()}) > 1:
            raise ArgumentError("features", dict(self.features), expected)
        require_number("prior_sd", self.prior_sd, "a finite number above 0", lambda x: x > 0.0)

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1. Needs the context. ArgumentError unless `features` names the declared segments."""
        return self.choose(posteriors, context).weights

    def choose(self, posteriors: Posteriors, context: Context | None = None) -> Choice:
        """The weights with the posteriors they rest on."""
        context = needed(context)
        self._check(context.segments)
        fit = context.once(self._fitted)
        if fit is None:
            return Choice(normalise(posteriors.prob_best()))
        features = None if context.segment is None else self.features.get(context.segment)
        at = fit.average if features is None else _design(features)
        found = fit.posteriors(at, posteriors.arms, posteriors.down)
        return Choice(normalise(found.prob_best()), found)

    def _check(self, declared: Sequence[str]) -> None:
        if missing := [segment for segment in declared if segment not in self.features]:
            raise ArgumentError("features", sorted(self.features), f"features of every segment: {', '.join(missing)} has none")
        if unknown := sorted(self.features.keys() - {*declared, OTHER_SEGMENT}):
            raise ArgumentError("features", unknown, f"declared segments: {', '.join(declared) or 'the experiment has none'}")

    def _fitted(self, context: Context) -> _Fit | None:
        """The posterior of every arm's coefficients; None where no unit differs from another."""
        names = [name for name in context.evidence.by_segment if name in self.features]
        parts = [context.samples(context.evidence.by_segment[name]) for name in names]
        n = np.array([part.n for part in parts])
        if not n.any():
            return None
        each = [np.divide(p.total, p.n, out=np.zeros_like(p.total), where=p.n > 0) + p.origin for p in parts]
        mean, units = np.array(each), float(n.sum())
        middle = float(np.average(mean, weights=n))
        mean = np.where(n > 0, mean - middle, 0.0)
        within = float(sum(part.squares.sum() for part in parts))
        scale = float(np.sqrt((within + (n * mean**2).sum()) / units))
        if scale == 0.0:
            return None
        noise = (within / scale**2 + 1.0) / (units + 1.0)
        z = np.array([_design(self.features[name]) for name in names])
        coefficients, factors = _regressed(z, np.sqrt(n.T / noise), mean.T / scale, self.prior_sd)
        return _Fit(coefficients, factors, middle, scale, np.average(z, axis=0, weights=n.sum(axis=1)))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Coefficients' means, shape (arms, p), and factors L of their covariances LᵀL, of values less `middle` over `scale`.

    `average` is z of the mean unit, shape (p,).
    """

    coefficients: FloatArray
    factors: FloatArray
    middle: float
    scale: float
    average: FloatArray

    def posteriors(self, z: FloatArray, arms: tuple[str, ...], down: bool) -> NormalPosteriors:
        """Of the arms' means at z."""
        sd = np.linalg.norm(self.factors @ z, axis=1)
        return NormalPosteriors(arms, self.middle + self.scale * (self.coefficients @ z), self.scale * sd, down)


def _regressed(z: FloatArray, root_n: FloatArray, mean: FloatArray, prior_sd: float) -> tuple[FloatArray, FloatArray]:
    """Coefficients and factors of their covariances, by singular values of the rows √n z and of the prior's 1 / prior_sd.

    The sums of squares in the module's docstring would lose the prior beside a million million units.

    Parameters
    ----------
    z : shape (segments, p). root_n, mean : shape (arms, segments); 1 / variance is root_n².
    """
    arms, p = len(mean), z.shape[1]
    prior = np.broadcast_to(np.eye(p) / prior_sd, (arms, p, p))
    u, s, vt = np.linalg.svd(np.concatenate([root_n[:, :, None] * z, prior], axis=1), full_matrices=False)
    factors = vt / s[:, :, None]
    seen = np.einsum("kg,kgp->kp", root_n * mean, u[:, : len(z), :])
    return np.einsum("kp,kpq->kq", seen, factors), factors


def _design(features: Sequence[float]) -> FloatArray:
    return np.array([1.0, *features])
