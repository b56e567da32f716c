"""
The connection parameters for libpq, read from a registry's URL.

libpq itself reads the URL, so the URL may name hosts, unix sockets, certificates
and services as https://www.postgresql.org/docs/current/libpq-connect.html says.
Values in the URL take precedence over the defaults here, except for the encoding.

Statements are not prepared on the server, so a pooler such as PgBouncer may
stand between, also in transaction mode. It must accept the startup parameter
``options`` (PgBouncer: ``ignore_startup_parameters = options``). For a pooler
that does not, end the URL in an empty ``options=`` and set
``statement_timeout`` for the role.
"""

from __future__ import annotations

import math
import os
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from idlanyard.exceptions import PolicyError


def connection_parameters(url: str, timeout: float) -> dict[str, Any]:
    """
    Return the parameters of a connection to *url*.

    Args:
        url: a URL as libpq reads it.
        timeout: the registry's timeout, in seconds.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    given = _parse_url(url)
    parameters = _default_parameters(timeout, str(given.get("host", "")).count(",") + 1)
    options = given.pop("options", os.environ.get("PGOPTIONS"))
    if options is not None:
        # PostgreSQL uses the last value of a repeated setting.
        parameters["options"] = options and f"{parameters['options']} {options}"
    return parameters | given | {"client_encoding": "UTF8"}


def _parse_url(url: str) -> dict[str, Any]:
    try:
        if url.startswith(("postgresql://", "postgres://")):
            return dict(conninfo_to_dict(url))
    except psycopg.Error:
        # psycopg's message may contain the password, so it is not chained.
        pass
    raise PolicyError.about(
        "url", "is not as libpq takes it: write 'postgresql://user:password@host:5432/database'"
    )


def _default_parameters(timeout: float, hosts: int) -> dict[str, Any]:
    # Shorter than the timeout: the server ends the statement and the connection can be kept.
    milliseconds = math.ceil(timeout * 800)
    settings = {
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        # Under "repeatable read" and above, a taken key is a serialization failure.
        "default_transaction_isolation": "read\\ committed",
        # PostgreSQL 12 to 17 would compile the search by terms: 60 ms for a query of 1 ms.
        "jit": "off",
    }
    return {
        "fallback_application_name": "idlanyard",
        # A silent host leaves time for the other hosts. psycopg raises anything below 2 to 2.
        "connect_timeout": max(2, int(timeout / hosts)),
        "tcp_user_timeout": math.ceil(timeout * 1000),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
