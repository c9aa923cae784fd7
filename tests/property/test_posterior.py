"""Laws of posteriors, whatever the family and the data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import Moments
from allocator.experiment import Metric, MetricType
from allocator.moments import layout_of
from allocator.objective import LinearObjective
from allocator.posterior import (
    BetaPosteriors,
    GammaPosteriors,
    NormalPosteriors,
    Posteriors,
    StudentPosteriors,
    posteriors,
    posteriors_of,
)
from allocator.samples import Samples, samples_of

ERROR = 1e-9
"""Of a probability by quadrature."""
LOSS_ERROR = 1e-7
"""Of an expected loss, over what is not known of the means."""

FAMILIES = (BetaPosteriors, GammaPosteriors, NormalPosteriors, StudentPosteriors)
KINDS = st.sampled_from(["binary", "value", "count"])
UNITS = st.one_of(st.sampled_from([0, 1, 2, 10**12]), st.integers(0, 10_000))


def cell(n: int, total: int, squares: int) -> Moments:
    layout, sums = layout_of(1), layout_of(1).empty()
    sums[0], sums[1], sums[layout.square[0]] = n, total, squares
    sums[layout.w], sums[layout.w2] = n * 10**6, n * 10**12
    return Moments(1, tuple(sums))


@st.composite
def cells(draw: st.DrawFn, kind: MetricType) -> Moments:
    """An arm's moments: no units or a million million, none with a success or all, all alike or very far apart."""
    n = draw(UNITS)
    if kind == "binary":
        total = draw(st.one_of(st.sampled_from([0, n]), st.integers(0, n)))
        return cell(n, total, total)
    each = draw(st.integers(0 if kind == "count" else -1000, 1000))
    spread = draw(st.sampled_from([0, 1, 50, 10**6])) * draw(st.integers(0, 10)) if n > 1 else 0
    return cell(n, each * n, each * each * n + spread * n)


@st.composite
def experiments(draw: st.DrawFn) -> tuple[Metric, list[Moments]]:
    kind = draw(KINDS)
    metric = Metric(type=kind, resolution=1.0, direction=draw(st.sampled_from(["up", "down"])))
    return metric, draw(st.lists(cells(kind), min_size=1, max_size=6))


@st.composite
def families(draw: st.DrawFn, of: Sequence[type] = FAMILIES) -> Posteriors:
    """Posteriors of one to six arms of any widths."""
    arms = draw(st.integers(1, 6))
    names = tuple("abcdef"[:arms])

    def numbers(least: float, most: float) -> Any:
        return np.array(draw(st.lists(st.floats(least, most), min_size=arms, max_size=arms)))

    down, family = draw(st.booleans()), draw(st.sampled_from(of))
    if family in (BetaPosteriors, GammaPosteriors):
        return family(names, 10 ** numbers(-1, 7), 10 ** numbers(-1, 7), down)
    mean, width = numbers(-10, 10), 10 ** numbers(-5, 1)
    if family is NormalPosteriors:
        return NormalPosteriors(names, mean, width, down)
    return StudentPosteriors(names, mean, width, 10 ** numbers(0.4, 7), down)


@given(experiments())
def test_every_answer_is_finite_and_sensible(found: tuple[Metric, list[Moments]]) -> None:
    metric, arms = found
    family = posteriors_of(metric, 0, [str(k) for k in range(len(arms))], arms)
    p, loss, beats = family.prob_best(), family.expected_loss(), family.prob_beats(0)
    assert np.all(p > 0)
    assert p.sum() == pytest.approx(1, abs=5e-9)
    assert np.all((beats >= 0) & (beats <= 1))
    if metric.type != "binary" and not any(m.n for m in arms):
        assert np.isnan(family.mean).all()
        return
    low, high = family.interval().T
    slack = 1e-9 * (np.abs(family.mean) + family.sd)
    assert np.all(np.isfinite([family.mean, family.sd, low, high, loss]))
    assert np.all((low <= family.mean + slack) & (family.mean <= high + slack))
    assert np.all(loss >= 0)
    if len(arms) == 1:
        assert (p.tolist(), loss.tolist()) == ([1.0], [0.0])
    if len(set(arms)) == 1:
        np.testing.assert_allclose(p, 1 / len(arms), rtol=0, atol=ERROR)


@given(experiments(), st.data())
def test_merging_in_any_order_gives_the_same_bits(found: tuple[Metric, list[Moments]], data: st.DataObject) -> None:
    metric, parts = found
    shuffled = data.draw(st.permutations(parts))
    one, two = (posteriors_of(metric, 0, ["a"], [reduce(add, order)]) for order in (parts, shuffled))
    np.testing.assert_array_equal(one.interval(), two.interval())


@given(families(), st.data())
def test_permuting_the_arms_permutes_every_answer(family: Posteriors, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(family.arms))))
    other = _of(family, list(order))
    scale = family.sd[np.isfinite(family.sd)].max(initial=0.0) + float(np.ptp(family.mean))
    np.testing.assert_allclose(other.prob_best(), family.prob_best()[list(order)], rtol=0, atol=ERROR)
    np.testing.assert_allclose(other.expected_loss(), family.expected_loss()[list(order)], rtol=0, atol=LOSS_ERROR * scale)
    control = order.index(0)
    np.testing.assert_allclose(other.prob_beats(control), family.prob_beats(0)[list(order)], rtol=0, atol=ERROR)


@given(families())
def test_the_best_mean_has_the_least_loss_and_no_more_than_the_doubt_about_it(family: Posteriors) -> None:
    """E[best - b] ≤ Σ E[(j - b)⁺], and each of these is at most half the sd of j - b if b has the higher mean."""
    loss, worth, sd = family.expected_loss(), -family.mean if family.down else family.mean, family.sd
    best = int(worth.argmax())
    assert loss[best] == loss.min()
    np.testing.assert_allclose(loss - loss[best], worth[best] - worth, rtol=1e-12, atol=1e-14 * loss.max())
    assert loss[best] <= np.hypot(np.delete(sd, best), sd[best]).sum() / 2 + 1e-12 * sd.max()


@given(families(of=[NormalPosteriors]), st.floats(40, 1e6))
def test_a_dominated_arm_never_raises_a_better_arms_loss(family: NormalPosteriors, far: float) -> None:
    width = float(family.sd.max())
    worst = far * (float(np.ptp(family.mean)) + width)
    mean = family.mean.max() + worst if family.down else family.mean.min() - worst
    more = NormalPosteriors((*family.arms, "z"), np.append(family.mean, mean), np.append(family.sd, width), family.down)
    known = width + float(np.ptp(family.mean))
    np.testing.assert_allclose(more.expected_loss()[:-1], family.expected_loss(), rtol=0, atol=LOSS_ERROR * known)
    np.testing.assert_allclose(more.prob_best()[:-1], family.prob_best(), rtol=0, atol=ERROR)
    assert more.prob_best()[-1] < 1e-14
    assert np.all(more.expected_loss()[-1] >= more.expected_loss()[:-1])


@given(families(of=[BetaPosteriors]))
def test_a_rate_of_nought_never_raises_a_better_arms_loss(family: BetaPosteriors) -> None:
    a, b = (0.5, 1e300) if not family.down else (1e300, 0.5)
    more = BetaPosteriors((*family.arms, "z"), np.append(family.a, a), np.append(family.b, b), family.down)
    np.testing.assert_allclose(more.expected_loss()[:-1], family.expected_loss(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(more.prob_best()[:-1], family.prob_best(), rtol=0, atol=ERROR)


@given(families(of=[GammaPosteriors]))
def test_a_mean_count_of_nought_never_raises_a_better_arms_loss(family: GammaPosteriors) -> None:
    beta = 1e-290 if family.down else 1e290
    more = GammaPosteriors((*family.arms, "z"), np.append(family.alpha, 5.0), np.append(family.beta, beta), family.down)
    loss = family.expected_loss()
    np.testing.assert_allclose(more.expected_loss()[:-1], loss, rtol=LOSS_ERROR, atol=LOSS_ERROR * family.sd.max())
    np.testing.assert_allclose(more.prob_best()[:-1], family.prob_best(), rtol=0, atol=ERROR)


@given(families(of=[StudentPosteriors]), st.floats(1e12, 1e15))
def test_a_far_value_never_raises_a_better_arms_loss(family: StudentPosteriors, far: float) -> None:
    known = float(np.ptp(family.mean)) + float(family.scale.max())
    mean = family.mean.max() + far * known if family.down else family.mean.min() - far * known
    arrays = (np.append(x, y) for x, y in ((family.mean, mean), (family.scale, family.scale.max()), (family.dof, 3.0)))
    more = StudentPosteriors((*family.arms, "z"), *arrays, family.down)
    np.testing.assert_allclose(more.expected_loss()[:-1], family.expected_loss(), rtol=0, atol=LOSS_ERROR * known)
    np.testing.assert_allclose(more.prob_best()[:-1], family.prob_best(), rtol=0, atol=ERROR)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-100, 100), st.integers(1, 100)), min_size=2, max_size=5), st.data())
def test_scaling_and_shifting_a_value_changes_no_probability(rows: list[tuple[int, int, int]], data: st.DataObject) -> None:
    scale, shift = 10.0 ** data.draw(st.floats(-6, 6)), data.draw(st.floats(-1e3, 1e3))
    n = np.array([float(n) for n, _, _ in rows])
    mean, squares = np.array([float(m) for _, m, _ in rows]), np.array([float(s * n) for n, _, s in rows])
    names = [str(k) for k in range(len(rows))]
    metric = Metric(type="value", resolution=1.0)
    plain = posteriors(metric, names, Samples(n, n * mean, squares))
    other = posteriors(metric, names, Samples(n, scale * n * mean, scale**2 * squares, origin=scale * shift))
    np.testing.assert_allclose(other.prob_best(), plain.prob_best(), rtol=0, atol=ERROR)
    np.testing.assert_allclose(other.prob_beats(0), plain.prob_beats(0), rtol=0, atol=ERROR)
    if n.any():
        known = plain.sd.max() + np.ptp(plain.mean)
        np.testing.assert_allclose(
            other.expected_loss(), scale * plain.expected_loss(), rtol=1e-6, atol=LOSS_ERROR * scale * (known + 1e-5)
        )


@given(experiments(), st.sampled_from([1e-3, 2.0, 1e6]))
def test_scaling_the_weights_of_a_sum_changes_no_probability(found: tuple[Metric, list[Moments]], scale: float) -> None:
    _, arms = found
    names = tuple(str(k) for k in range(len(arms)))
    one, other = (LinearObjective({0: w}, Metric(type="value"), names) for w in (1.0, scale))
    np.testing.assert_allclose(  # means of 1 known to 1e-11 have five digits of their distance
        other.posteriors(other.samples(arms)).prob_best(), one.posteriors(one.samples(arms)).prob_best(), rtol=0, atol=1e-5
    )


@given(experiments(), st.data())
def test_answers_are_continuous_in_the_data(found: tuple[Metric, list[Moments]], data: st.DataObject) -> None:
    """A little more of every unit changes P(best) a little, across every rule that tells cases apart."""
    metric, arms = found
    names = [str(k) for k in range(len(arms))]
    samples = samples_of(metric, 0, arms)
    grown = 1.0 + np.array([data.draw(st.floats(0, 1e-9)) for _ in arms])
    more = Samples(samples.n * grown, samples.total * grown, samples.squares * grown, samples.origin)
    before, after = (posteriors(metric, names, s) for s in (samples, more))
    np.testing.assert_allclose(after.prob_best(), before.prob_best(), rtol=0, atol=1e-5)


def _of(family: Posteriors, order: list[int]) -> Posteriors:
    arms = tuple(family.arms[k] for k in order)
    match family:
        case BetaPosteriors(_, a, b, down):
            return BetaPosteriors(arms, a[order], b[order], down)
        case GammaPosteriors(_, alpha, beta, down):
            return GammaPosteriors(arms, alpha[order], beta[order], down)
        case NormalPosteriors(_, mean, sd, down):
            return NormalPosteriors(arms, mean[order], sd[order], down)
        case StudentPosteriors(_, mean, scale, dof, down):
            return StudentPosteriors(arms, mean[order], scale[order], dof[order], down)
    raise AssertionError(family)
