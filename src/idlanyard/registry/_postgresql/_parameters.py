"""
What libpq is told: what a URL says, and what a registry needs besides.

A URL is read by libpq itself, so it may name hosts, unix sockets, certificates
and services as https://www.postgresql.org/docs/current/libpq-connect.html says.
What it says goes before what is said here, except for the encoding.

Statements are not prepared on the server, so a pooler such as PgBouncer may
stand between, also by transaction. It has to take the startup parameter
``options`` (PgBouncer: ``ignore_startup_parameters = options``); for one that
does not, write ``options=`` in the URL, with nothing behind it, and set
``statement_timeout`` for the role.
"""

from __future__ import annotations

import math
import os
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from idlanyard.exceptions import PolicyError


def parameters_of(url: str, timeout: float) -> dict[str, Any]:
    """
    Return what libpq is told, from a URL as libpq reads it.

    Raises:
        PolicyError: libpq does not understand the URL.
    """
    asked = _asked(url)
    parameters = _defaults(timeout, str(asked.get("host", "")).count(",") + 1)
    theirs = asked.pop("options", os.environ.get("PGOPTIONS"))
    if theirs is not None:
        # What comes later counts.
        parameters["options"] = theirs and f"{parameters['options']} {theirs}"
    return parameters | asked | {"client_encoding": "UTF8"}


def _asked(url: str) -> dict[str, Any]:
    try:
        if url.startswith(("postgresql://", "postgres://")):
            return dict(conninfo_to_dict(url))
    except psycopg.Error:
        # Its message may have the password.
        pass
    raise PolicyError.about(
        "url", "is not as libpq takes it: write 'postgresql://user:password@host:5432/database'"
    )


def _defaults(timeout: float, hosts: int) -> dict[str, Any]:
    # The server gives up before we do, so that the connection stays.
    milliseconds = math.ceil(timeout * 800)
    settings = {
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        # Under "repeatable read" and above, a taken key is a serialization failure.
        "default_transaction_isolation": "read\\ committed",
        # PostgreSQL 12 to 17 compile the search by terms, which takes 60 ms, to run it for one.
        "jit": "off",
    }
    return {
        "fallback_application_name": "idlanyard",
        # One host that is silent leaves time for the others; psycopg's least is 2.
        "connect_timeout": max(2, int(timeout / hosts)),
        "tcp_user_timeout": math.ceil(timeout * 1000),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
