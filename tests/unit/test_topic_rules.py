"""Topics as they are against topics as they must be: each difference is named, with its repair."""

from __future__ import annotations

from dataclasses import replace

from streams.admin import TopicState, problems, sources_partitions
from streams.topics import Topics

TOPICS = Topics("shop")


def right(partitions: int = 4) -> dict[str, TopicState]:
    return {
        spec.name: TopicState(spec.name, spec.partitions or partitions, "compact" if spec.compacted else "delete", {})
        for spec in TOPICS.specs()
    }


def found_in(topics: dict[str, TopicState], partitions: int = 4, *, missing: bool = True) -> list[str]:
    return [str(error) for error in problems(TOPICS.specs(), topics, partitions, missing=missing)]


def test_right_topics_have_no_problem() -> None:
    assert found_in(right()) == []
    assert found_in(right(7), 7) == []


def test_sources_that_differ_are_named() -> None:
    topics = right()
    topics[TOPICS.rewards] = replace(topics[TOPICS.rewards], partitions=2)
    [error] = found_in(topics)
    assert error.startswith("shop.rewards.v1 has 2 partitions, needs 4 partitions: the join works partition by partition")


def test_what_is_kept_as_state_must_only_be_compacted() -> None:
    for policy in ("delete", "compact,delete"):
        topics = right()
        topics[TOPICS.weights] = replace(topics[TOPICS.weights], cleanup=policy)
        [error] = found_in(topics)
        assert error.startswith(f"shop.weights.v1 has cleanup.policy={policy}, needs compact")
        assert error.endswith("Repair: allocator doctor --fix")


def test_sources_must_not_be_compacted() -> None:
    topics = right()
    topics[TOPICS.exposures] = replace(topics[TOPICS.exposures], cleanup="compact")
    [error] = found_in(topics)
    assert error.startswith("shop.exposures.v1 has cleanup.policy=compact, needs delete")


def test_missing_topics_are_problems_only_if_nobody_makes_them() -> None:
    topics = right()
    del topics[TOPICS.experiments]
    assert found_in(topics, missing=False) == []
    [error] = found_in(topics)
    assert error.startswith("shop.experiments.v1 has not been made, needs 1 partition, cleanup.policy=compact")


def test_every_problem_is_found_at_once() -> None:
    topics = {name: replace(state, partitions=9, cleanup="compact,delete") for name, state in right().items()}
    assert len(found_in(topics)) == 2 * len(topics)


def test_existing_sources_decide_how_many_partitions_there_are() -> None:
    topics = right(6)
    assert sources_partitions(TOPICS, topics, 4) == 6
    del topics[TOPICS.exposures]
    assert sources_partitions(TOPICS, topics, 4) == 6
    del topics[TOPICS.rewards]
    del topics[TOPICS.join_changelog]
    assert sources_partitions(TOPICS, topics, 4) == 4


def test_partitions_added_to_the_sources_are_refused_with_what_to_do() -> None:
    topics = right()
    for name in (TOPICS.exposures, TOPICS.rewards):
        topics[name] = replace(topics[name], partitions=6)
    count = sources_partitions(TOPICS, topics, 4)
    errors = problems(TOPICS.specs(), topics, count)
    assert [(error.topic, error.found) for error in errors] == [
        (TOPICS.exposures, "6 partitions"),
        (TOPICS.rewards, "6 partitions"),
    ]
    assert errors[0].expected == "4 partitions as when the state was begun: units have moved to other partitions than their state"
    assert "choose a new --prefix" in errors[0].repair
