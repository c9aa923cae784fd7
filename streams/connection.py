"""How to reach Kafka: bootstrap servers, TLS and SASL, from arguments or the environment, for every client used here.

Variables: ALLOCATOR_BOOTSTRAP, ALLOCATOR_SECURITY_PROTOCOL (PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL), ALLOCATOR_SASL_MECHANISM
(PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), ALLOCATOR_SASL_USERNAME, ALLOCATOR_SASL_PASSWORD, ALLOCATOR_SSL_CAFILE.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BOOTSTRAP_DEFAULT", "Connection"]

BOOTSTRAP_DEFAULT = "localhost:9092"


@dataclass(frozen=True, slots=True)
class Connection:
    """A Kafka cluster and how to log in to it."""

    bootstrap: str = BOOTSTRAP_DEFAULT
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None

    @classmethod
    def from_environment(cls, bootstrap: str | None = None, environ: Mapping[str, str] = os.environ) -> Connection:
        """Settings from the environment; an explicit `bootstrap` wins."""
        get = environ.get
        return cls(
            bootstrap=bootstrap or get("ALLOCATOR_BOOTSTRAP") or BOOTSTRAP_DEFAULT,
            security_protocol=get("ALLOCATOR_SECURITY_PROTOCOL", "PLAINTEXT"),
            sasl_mechanism=get("ALLOCATOR_SASL_MECHANISM", "PLAIN"),
            sasl_username=get("ALLOCATOR_SASL_USERNAME"),
            sasl_password=get("ALLOCATOR_SASL_PASSWORD"),
            ssl_cafile=get("ALLOCATOR_SSL_CAFILE"),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """A verifying context, or None for plain connections."""
        return ssl.create_default_context(cafile=self.ssl_cafile) if "SSL" in self.security_protocol else None

    def aiokafka(self) -> dict[str, Any]:
        """Keyword arguments every aiokafka client takes."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.security_protocol.startswith("SASL"):
            arguments |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return arguments

    def librdkafka(self) -> dict[str, str | int | float | bool]:
        """Configuration every confluent-kafka client takes."""
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
        }
        if self.ssl_cafile is not None:
            config["ssl.ca.location"] = self.ssl_cafile
        if self.security_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.sasl_mechanism
            config["sasl.username"], config["sasl.password"] = self.sasl_username or "", self.sasl_password or ""
        return config

    def faust_credentials(self) -> Any:
        """What Faust calls credentials, or None for plain connections."""
        from faust.auth import SASLCredentials, SSLCredentials  # noqa: PLC0415 - a second to import, and only workers need it

        if self.security_protocol.startswith("SASL"):
            return SASLCredentials(
                username=self.sasl_username,
                password=self.sasl_password,
                mechanism=self.sasl_mechanism,
                ssl_context=self.ssl_context(),
            )
        return SSLCredentials(context=self.ssl_context()) if self.security_protocol == "SSL" else None
