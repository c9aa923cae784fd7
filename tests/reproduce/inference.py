"""Intervals: published boundaries, and how often each method misses while units follow batched Thompson and somebody looks."""

from __future__ import annotations

from functools import partial

from allocator.inference.boundaries import (
    bernoulli_interval,
    best_rho,
    beta_binomial_bound,
    gamma_exponential_bound,
    normal_bound,
)
from allocator.simulate import Estimate
from tests.reproduce.coverage import ALPHA, INVALID, METHODS, World, at_end, coverage
from tests.reproduce.rows import Answer, Row, Study, exactly

__all__ = ["STUDIES"]

SECTION = "Inference: intervals under peeking and adaptive allocation"
BOUNDARIES = "Inference: uniform boundaries"
SETTING = "batched Thompson, 100 × 100 units, three arms of rates .1, floor 2 %"
CONFSEQ = "confseq 0.0.11, the package of Howard et al. 2021"
BEFORE = "simulated, 4000 runs"
RUNS, QUICK = 4000, 300
EQUAL = World()


def golden(_runs: int, _seed: int) -> Answer:
    """confseq's own examples."""
    low, high = bernoulli_interval(700, 1000, 0.05, 100)
    return {
        "normal": exactly(float(normal_bound(100, 0.05, best_rho(100)))),
        "gamma-exponential": exactly(float(gamma_exponential_bound(100, 0.05, best_rho(100, two_sided=False), 2))),
        "beta-binomial": exactly(float(beta_binomial_bound(100, 0.05, best_rho(100), 0.2, 0.8))),
        "low": exactly(float(low)),
        "high": exactly(float(high)),
    }


def ever_missed(runs: int, seed: int, *, methods: tuple[str, ...], world: World = EQUAL) -> Answer:
    """Share of the runs in which a 95 % interval missed the truth at any look."""
    return {method: Estimate(*coverage(method, runs, seed, world)) for method in methods}


def ended(runs: int, seed: int) -> Answer:
    """Bias of an arm's mean after the last batch, and whether estimate ± 1.96 standard errors holds the truth."""
    answer: dict[str, Estimate] = {}
    for estimator in ("sample mean", "ipw", "aipw"):
        bias, standard_error, held = at_end(estimator, runs, seed)
        answer[f"{estimator}: bias"] = Estimate(bias, standard_error)
        answer[f"{estimator}: held"] = Estimate(held, (held * (1 - held) / runs) ** 0.5)
    return answer


def _golden() -> Study:
    numbers = {
        "normal": ("normal_mixture_bound(100, .05, 100, .05, False)", 30.35209, 5e-6),
        "gamma-exponential": ("gamma_exponential_mixture_bound(100, .05, 100, 2)", 33.02017, 5e-6),
        "beta-binomial": ("beta_binomial_mixture_bound(100, .05, 100, .2, .8, .05, False)", 31.4308, 5e-5),
        "low": ("bernoulli_confidence_interval(700, 1000, .05, 100), low", 0.651629, 1e-6),
        "high": ("bernoulli_confidence_interval(700, 1000, .05, 100), high", 0.745949, 1e-6),
    }
    rows = tuple(Row(key, what, value, tolerance, CONFSEQ, "V") for key, (what, value, tolerance) in numbers.items())
    return Study("boundaries", BOUNDARIES, "computed", rows, golden, 1, 1, 0.1)


def _invalid() -> Study:
    note = "Published without a batch at which looking begins; ours look from 1000 units on."
    least = "Published as .08 to .34, the more the fewer units an arm has; ours has .21 with log-normal values, σ = 1.5."
    rows = (
        Row("naive mean", "z interval of an arm's mean ever misses", 0.43, 0.02, BEFORE, "S"),
        Row("naive aipw mean", "AIPW ± 1.96 se ever misses", 0.32, 0.02, BEFORE, "S", note=note),
        Row(
            "plain asymptotic difference",
            "asymptotic sequence without a demanded minimum ever misses",
            0.08,
            0.0,
            BEFORE,
            "S",
            "≥",
            least,
        ),
        Row("naive difference", "z interval of a difference ever misses", ALPHA, 0.0, "must not hold", "C", "≥"),
    )
    compute = partial(ever_missed, methods=tuple(INVALID))
    return Study("invalid-intervals", SECTION, f"{SETTING}; for contrast", rows, compute, RUNS, QUICK, 5.0)


def _valid(name: str, how: str, methods: tuple[str, ...], world: World, seconds: float) -> Study:
    rows = tuple(Row(method, f"{method} ever misses", ALPHA, 0.0, "by construction", "C", "≤") for method in methods)
    compute = partial(ever_missed, methods=methods, world=world)
    return Study(name, SECTION, how, rows, compute, RUNS, QUICK, seconds)


def _steady() -> Study:
    row = Row("beta-mixture mean", "beta-mixture mean ever misses", 0.009, 0.0, BEFORE, "S", "≤")
    compute = partial(ever_missed, methods=("beta-mixture mean",))
    return Study("beta-mixture", SECTION, SETTING, (row,), compute, RUNS, QUICK, 7.0)


def _ended() -> Study:
    published = {"sample mean": (-0.035, 0.91), "ipw": (0.0, 0.95), "aipw": (0.0, 0.95)}
    rows = []
    for estimator, (bias, held) in published.items():
        rows.append(Row(f"{estimator}: bias", f"{estimator}, relative bias at the end", bias, 0.003, BEFORE, "S"))
        rows.append(Row(f"{estimator}: held", f"{estimator} ± 1.96 se holds the truth at the end", held, 0.01, BEFORE, "S"))
    return Study("at-the-end", SECTION, SETTING, tuple(rows), ended, RUNS, 5 * QUICK, 5.0)


WEIGHTED = ("empirical-bernstein difference", "asymptotic difference", "empirical-bernstein lift", "asymptotic lift")
UNBOUNDED = ("asymptotic mean", "asymptotic difference", "asymptotic lift")
HEAVY_TAILED = World(rates=(1.0, 1.0, 1.0), sigma=1.5)

STUDIES: tuple[Study, ...] = (
    _golden(),
    _ended(),
    _invalid(),
    _valid("anytime", SETTING, tuple(METHODS), EQUAL, 25.0),
    _steady(),
    _valid("anytime-drift", f"{SETTING}, of .3 ± 50 % over the run", WEIGHTED, World(rates=(0.3,) * 3, drift=0.5), 15.0),
    _valid("anytime-rare", f"{SETTING}, of .01", tuple(METHODS), World(rates=(0.01,) * 3), 25.0),
    _valid("anytime-heavy-tails", "100 × 100 units, log-normal values, σ = 1.5", UNBOUNDED, HEAVY_TAILED, 5.0),
)
