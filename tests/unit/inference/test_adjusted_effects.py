"""CUPED of an experiment as reports ask for it: which units count, what is saved, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.inference.adjusted_effects import adjusted_effects
from tests.folding import experiment
from tests.many_units import evidence_of_units

DAY = 86400.0
NOW = 100 * DAY
METRICS = {"revenue": {"type": "value", "window": "1d", "resolution": 0.001}, "ms": {"type": "value", "missing": "excluded"}}


def spec(**changes: Any) -> Experiment:
    given = {"metrics": METRICS, "objective": "revenue", "covariates": [{"name": "x", "resolution": 0.001}], "period": "1d"}
    return experiment(**{**given, **changes})


def units(rng: np.random.Generator, n: int, effect: float, rho: float = 0.8, lacking: float = 0.0, shift: float = 0.0) -> Any:
    """Columns revenue, ms, ms:reported, x, lacking; revenue and x are correlated by rho."""
    x = rng.normal(size=n)
    y = 10 + effect + rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
    without = rng.random(n) < lacking
    return np.stack([y, np.zeros(n), np.zeros(n), np.where(without, 0.0, x + shift), without], axis=1)


def evidence(experiment: Experiment, effects: list[float], n: int = 1000, seed: int = 1, **fields: float) -> Evidence:
    """A period for each effect of b, whose units and the control's have the same x."""
    rng, shift = np.random.default_rng(seed), fields.pop("shift", 0.0)
    periods = {
        day: {"a": (0.5, units(rng, n, 0.0, **fields)), "b": (0.5, units(rng, n, effect, shift=shift, **fields))}
        for day, effect in enumerate(effects)
    }
    return evidence_of_units(experiment, periods)


def test_cuped_saves_the_variance_that_the_covariate_explains() -> None:
    found = spec()
    (effect,) = adjusted_effects(found, evidence(found, [0.2] * 10), "revenue", NOW)
    assert (effect.metric, effect.arm, effect.units, effect.lacking, effect.balanced) == ("revenue", "b", 20_000, 0.0, True)
    assert effect.saved == pytest.approx(0.64, abs=0.02)
    for low, high in (effect.raw_interval, effect.adjusted_interval):
        assert low < 0.2 < high
    width = [high - low for low, high in (effect.raw_interval, effect.adjusted_interval)]
    assert width[1] / width[0] == pytest.approx(0.6, abs=0.02)
    assert effect.method.startswith("CUPED")
    assert effect.assumptions


def test_units_that_lack_the_covariate_save_less_and_bias_nothing() -> None:
    found = spec()
    estimates = [
        adjusted_effects(found, evidence(found, [0.2], seed=seed, lacking=0.5), "revenue", NOW)[0] for seed in range(200)
    ]
    assert np.mean([e.saved for e in estimates]) == pytest.approx(0.32, abs=0.02)
    assert np.mean([e.lacking for e in estimates]) == pytest.approx(0.5, abs=0.01)
    adjusted = np.array([e.adjusted for e in estimates])
    assert adjusted.mean() == pytest.approx(0.2, abs=3 * adjusted.std() / len(adjusted) ** 0.5)
    covered = [low < 0.2 < high for low, high in (e.adjusted_interval for e in estimates)]
    assert np.mean(covered) > 0.9


def test_a_covariate_that_the_arm_has_changed_is_found() -> None:
    found = spec()
    (effect,) = adjusted_effects(found, evidence(found, [0.2] * 5, shift=0.3), "revenue", NOW)
    assert not effect.balanced


def test_only_periods_whose_rewards_are_in_count() -> None:
    found = spec()
    known = evidence(found, [0.2] * 10)
    (effect,) = adjusted_effects(found, known, "revenue", 6 * DAY + found.grace_s)
    assert effect.units == 5 * 2000
    assert adjusted_effects(found, known, "revenue", 0.0) == ()


def test_without_covariates_or_arms_there_is_nothing_to_adjust() -> None:
    none = spec(covariates=[])
    assert adjusted_effects(none, Evidence(none.arm_ids, 3, {}), "revenue", NOW) == ()
    alone = spec(arms=["a"])
    assert adjusted_effects(alone, Evidence(alone.arm_ids, 5, {}), "revenue", NOW) == ()


@pytest.mark.parametrize("name", ["ms", "x", "unheard_of"])
def test_other_metrics_are_refused(name: str) -> None:
    found = spec()
    with pytest.raises(ArgumentError, match="an observed metric whose mean is over all units: one of revenue"):
        adjusted_effects(found, evidence(found, [0.2]), name, NOW)
