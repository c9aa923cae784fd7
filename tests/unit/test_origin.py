"""Whether a state may go on from the topics that are there now. No Kafka."""

from __future__ import annotations

import msgspec
import pytest

from allocator.errors import StateError
from streams.state import Checkpoint, Origin
from streams.state.origin import UNCHECKED, continued, require_whole

SOURCES = ("exposures", "rewards")
OLD = Checkpoint(seq=9, applied={"exposures": 50, "rewards": 70}, epoch=1000, sources={"exposures": "e1", "rewards": "r1"})


def origin(exposures: str = "e1", rewards: str = "r1", **options: bool) -> Origin:
    return Origin(SOURCES, {"exposures": exposures, "rewards": rewards, "changelog": "c1"}, **options)


def go_on(now: Origin, checkpoint: Checkpoint = OLD) -> Checkpoint:
    return continued(checkpoint, now, "changelog", 3)


def test_the_same_sources_change_nothing() -> None:
    assert go_on(origin()) == OLD


def test_a_source_made_again_is_refused_with_what_to_do() -> None:
    with pytest.raises(StateError) as caught:
        go_on(origin(rewards="r2"))
    assert caught.value.found.startswith("rewards deleted and made again (id r1 before, r2 now) after 70 offsets of partition 3")
    assert "--accept-loss" in caught.value.repair
    assert "delete changelog" in caught.value.repair


def test_an_accepted_loss_keeps_the_sums_and_reads_the_new_source_from_its_beginning() -> None:
    accepted = go_on(origin(rewards="r2", accept_loss=True))
    assert accepted == Checkpoint(9, {"exposures": 50, "rewards": 0}, 1000, {"exposures": "e1", "rewards": "r2"})
    assert go_on(origin(rewards="r2"), accepted) == accepted


def test_cumulative_sources_are_read_again_without_being_asked() -> None:
    assert go_on(origin("e2", "r2", cumulative=True)).applied == {"exposures": 0, "rewards": 0}


def test_a_source_made_again_before_anything_of_it_was_counted_loses_nothing() -> None:
    unread = msgspec.structs.replace(OLD, applied={"exposures": 50})
    assert go_on(origin(rewards="r2"), unread).sources == {"exposures": "e1", "rewards": "r2"}


def test_what_is_not_known_is_not_checked() -> None:
    assert go_on(UNCHECKED) == OLD
    before_ids = Checkpoint(seq=9, applied={"exposures": 50})
    assert go_on(origin(), before_ids) == msgspec.structs.replace(before_ids, sources=OLD.sources)
    assert go_on(Origin(SOURCES, {"rewards": "r1"})).sources == OLD.sources


def test_a_checkpoint_from_before_ids_decodes() -> None:
    old = msgspec.msgpack.encode({"seq": 4, "applied": {"exposures": 2}})
    assert msgspec.msgpack.decode(old, type=Checkpoint) == Checkpoint(4, {"exposures": 2}, 0, {})


def test_a_state_is_begun_only_with_whole_sources() -> None:
    require_whole(origin(), {"exposures": 0, "rewards": 0}, 3)
    with pytest.raises(StateError, match="no state of partition 3, while its records below offset 5 are gone from rewards"):
        require_whole(origin(), {"exposures": 0, "rewards": 5}, 3)
    require_whole(origin(accept_loss=True), {"rewards": 5}, 3)
    require_whole(origin(cumulative=True), {"rewards": 5}, 3)
