"""The rich job's answer is what folding it gives, and the job is as rich as it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import msgspec

from allocator.spec import load_experiment
from streams.records import Exposure, Reward
from tests.bench.rich import Shape, events, rich
from tests.folding import Partition
from tests.reference import Answer

SMALL = replace(rich(1_500), experiments=2)
CHUNK = 500


def generated(shape: Shape) -> tuple[list[Exposure | Reward], Answer]:
    """The job's events as the worker decodes them, and its answer."""
    answer, kinds = Answer(), {"exposures": Exposure, "rewards": Reward}
    made: list[Exposure | Reward] = [msgspec.convert(record, kinds[dataset]) for dataset, _, record in events(shape, 7, answer)]
    return made, answer


def folded(shape: Shape, made: list[Exposure | Reward]) -> Partition:
    partition = Partition([load_experiment(shape.spec(f"exp-{e}")) for e in range(shape.experiments)])
    for at in range(0, len(made), CHUNK):
        partition.chunk(*made[at : at + CHUNK])
    return partition


def test_the_answer_is_exact() -> None:
    made, answer = generated(SMALL)
    partition = folded(SMALL, made)
    sums: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
    for cell, found in partition.moments().items():
        arm = sums[cell.experiment].setdefault(cell.arm, [0] * (1 + SMALL.metrics))
        arm[:] = [known + one for known, one in zip(arm, found, strict=False)]
    assert sums == answer.sums
    assert partition.counters() == answer.counters
    assert answer.events == len(made)


def test_it_has_the_segments_periods_propensities_and_metrics_of_its_shape() -> None:
    made, answer = generated(SMALL)
    exposures = [event for event in made if isinstance(event, Exposure)]
    assert len({x.segment for x in exposures}) == 10
    assert len({x.propensity for x in exposures}) == 20
    assert len({x.ts // SMALL.period_s for x in exposures}) >= 5
    assert Counter(r.metric for r in made if isinstance(r, Reward)).keys() == {"thumbs_up", "value-1", "value-2"}
    assert answer.counters["exposures.duplicate"] > 0
    first_reward = {event.unit: at for at, event in reversed(list(enumerate(made))) if isinstance(event, Reward)}
    early = sum(first_reward[x.unit] < at for at, x in enumerate(made) if isinstance(x, Exposure))
    assert early > 0
