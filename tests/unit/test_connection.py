"""The same connection in the words of both client libraries."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from streams.connection import Connection

SASL = Connection("k:1", "SASL_PLAINTEXT", "SCRAM-SHA-256", "me", "secret")


def test_a_plain_connection_names_no_login() -> None:
    assert Connection("k:1").librdkafka() == {"bootstrap.servers": "k:1", "security.protocol": "PLAINTEXT"}


def test_a_login_is_told_to_both() -> None:
    found = SASL.librdkafka()
    assert (found["sasl.mechanism"], found["sasl.username"], found["sasl.password"]) == ("SCRAM-SHA-256", "me", "secret")
    assert SASL.aiokafka()["sasl_plain_username"] == "me"


def test_librdkafka_knows_every_name() -> None:
    AdminClient(SASL.librdkafka() | {"log_level": 0})  # refuses a property it does not know
    assert Connection("k:1", "SSL", ssl_cafile="/ca.pem").librdkafka()["ssl.ca.location"] == "/ca.pem"
