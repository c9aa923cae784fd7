"""Thompson sampling on Bernoulli arms, one event at a time, by river or by obp: pull, reward, update.

    python -m tests.bench.peers.bandits.job river|obp UNITS SEED RATE...

Runs in the peers' environment and imports nothing of the project. The last line on standard output is one JSON object with
seconds and cpu_s of the loop, without the start-up, and the true regret. Uniforms that become rewards are drawn beforehand.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Step = tuple[Callable[[], int], Callable[[int, int], None]]
"""(pull, update)"""


def river(arms: int, seed: int) -> Step:
    """`river.bandit.ThompsonSampling` with a Beta(1, 1) an arm."""
    from river import bandit, proba  # noqa: PLC0415  one of the two is imported

    policy = bandit.ThompsonSampling(reward_obj=proba.Beta(1, 1), seed=seed)
    names = list(range(arms))
    return (lambda: policy.pull(names)), policy.update


def obp(arms: int, seed: int) -> Step:
    """`obp.policy.BernoulliTS` with a Beta(1, 1) an arm, parameters updated with every event."""
    policy = _obp_context_free().BernoulliTS(n_actions=arms, random_state=seed)
    return (lambda: policy.select_action()[0]), policy.update_params


def _obp_context_free() -> Any:
    """`obp.policy.contextfree` without what the packages around it import: PyTorch, for other policies."""
    for package in ("obp", "obp.policy"):
        spec = importlib.util.find_spec(package)
        assert spec is not None, f"{package} is not installed"
        bare = types.ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[package] = bare
    return importlib.import_module("obp.policy.contextfree")


def main(who: str, units: int, seed: int, rates: Sequence[float]) -> None:
    """Play, and print what it took."""
    pull, update = {"river": river, "obp": obp}[who](len(rates), seed)
    uniforms = np.random.default_rng(seed).random(units).tolist()
    served = [0] * len(rates)
    wall, cpu = time.perf_counter(), time.process_time()
    for uniform in uniforms:
        arm = pull()
        update(arm, 1 if uniform < rates[arm] else 0)
        served[arm] += 1
    seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    regret = sum(n * (max(rates) - rate) for n, rate in zip(served, rates, strict=True))
    print(json.dumps({"units": sum(served), "seconds": seconds, "cpu_s": cpu_s, "regret": regret}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [float(rate) for rate in sys.argv[4:]])
