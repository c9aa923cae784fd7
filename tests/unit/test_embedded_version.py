"""Which librdkafka may carry the embedded broker."""

from __future__ import annotations

import pytest

from streams.embedded import EmbeddedBroker, EmbeddedBrokerError, check_version


def test_a_librdkafka_whose_broker_writes_what_clients_refuse_is_refused() -> None:
    check_version("2.14.2", 0x020E02FF)
    with pytest.raises(EmbeddedBrokerError, match=r"librdkafka 2.15.0 .* Repair: pip install 'confluent-kafka<2.15'"):
        check_version("2.15.0", 0x020F00FF)


def test_it_says_that_it_is_not_running() -> None:
    with pytest.raises(EmbeddedBrokerError, match=r"call start\(\) first"):
        _ = EmbeddedBroker().bootstrap
