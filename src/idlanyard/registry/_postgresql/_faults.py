"""
Faults of a PostgreSQL server that waiting does not mend, told from outages. Pure.

The SQLSTATE codes are those of https://www.postgresql.org/docs/current/errcodes-appendix.html.
libpq gives no code for a refused connection, so those are recognised by their text.
"""

from __future__ import annotations

import re
from typing import Final

from psycopg import Error
from sqlalchemy.exc import DBAPIError

_WRONG_TABLE: Final = (
    "the table {table} is not as a registry makes it: give the registry a namespace of its own, "
    "or make the table as docs/registry_machines.md says"
)
_CONSTRAINT: Final = (
    "the table {table} refuses what a registry keeps: give the registry a namespace of its own, "
    "or drop the constraint or trigger that is not the registry's"
)
_ENCODING: Final = (
    "the database's encoding cannot hold every ID: make a database with ENCODING 'UTF8'"
)
# By SQLSTATE, else by its class, which is its first two characters.
_STATEMENT_FAULTS: Final[dict[str, str]] = {
    "28": "the server refuses this role: write the right role and password into the URL",
    "3D": "there is no such database: create it, or write an existing one into the URL",
    "3F": (
        "the schema is not there: create it, or write an existing one into the URL, "
        "as in options=-csearch_path%3Dpublic"
    ),
    "42": _WRONG_TABLE,
    "42501": (
        "this role may not do that: let the owner of the table run "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO the role"
    ),
    "0A": "the server cannot do what a registry needs: use PostgreSQL 12 or later",
    "22": _CONSTRAINT,
    "22021": _ENCODING,
    "22P05": _ENCODING,
    "23": _CONSTRAINT,
    "44": _CONSTRAINT,
}
# None of these sentences names users, hosts or secrets.
_CONNECTION_FAULTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), fault)
    for pattern, fault in (
        (
            "password authentication failed|no such user",
            "the password is wrong, or there is no such role: write the right ones into the URL",
        ),
        ("no password supplied", "the server wants a password: write it into the URL"),
        ('role ".*" does not exist', "there is no such role: write an existing one into the URL"),
        (
            'database ".*" does not exist|no such database',
            "there is no such database: create it, or write an existing one into the URL",
        ),
        (
            "no pg_hba.conf entry|pg_hba.conf rejects|login rejected",
            (
                "the server lets this role connect neither from here nor like this: "
                "add a line to its pg_hba.conf, or write sslmode=require into the URL"
            ),
        ),
        (
            "is not permitted to log in",
            "this role may not log in: run ALTER ROLE ... LOGIN, or write another into the URL",
        ),
        (
            "permission denied for database",
            "this role may not connect to the database: run GRANT CONNECT ON DATABASE",
        ),
        (
            "authentication failed",
            "the server does not accept this role's credentials: write the right ones into the URL",
        ),
        (
            "certificate verify failed|root certificate file|does not match host name|weak sslmode",
            (
                "the server's certificate cannot be verified: "
                "write the right host and sslrootcert into the URL"
            ),
        ),
        (
            (
                "could not load client certificate|certificate file|private key file"
                "|certificate present, but not private key"
            ),
            (
                "the client's certificate or key cannot be used: "
                "write the right sslcert and sslkey into the URL"
            ),
        ),
        (
            "does not support SSL",
            "the server speaks no TLS: write sslmode=disable into the URL, or set the server up",
        ),
        (
            "does not support GSSAPI|GSSAPI encryption required",
            "the server speaks no GSSAPI: write gssencmode=disable into the URL",
        ),
        (
            "unsupported startup parameter",
            (
                "the pooler takes no options: set ignore_startup_parameters = options there, "
                "or write options= into the URL, with nothing behind it"
            ),
        ),
        (
            (
                "unrecognized configuration parameter|invalid value for parameter"
                "|invalid command-line argument|definition of service|invalid [a-z_]+ value"
            ),
            "the server or libpq does not take the URL's options: write others",
        ),
        (
            "expected authentication request|received invalid response to SSL|unsupported frontend",
            "there is no PostgreSQL at this address: write the right host and port into the URL",
        ),
        (
            "ProactorEventLoop",
            (
                "psycopg cannot use this event loop: run on a SelectorEventLoop, "
                "or use a SessionRegistry"
            ),
        ),
        (
            "encoding is",
            "the database's encoding cannot hold every ID: make a database with ENCODING 'UTF8'",
        ),
    )
)
# A dropped table, or one with other columns, indexes or schema.
_MISSING_TABLE: Final = frozenset({"42P01", "42703", "42P10", "3F000"})
# Nothing of the statement was done, and a new connection may lead to a server that can do it.
_READ_ONLY: Final = "25006"
# With these codes nothing of the statement was done.
_TERMINATED: Final = frozenset({"57P01", "57P05", "40001"})
# psycopg 3.2.2 gives no code for these. "... and terminating connection due to administrator
# command" means that the statement was done and only its replication was not awaited.
_TERMINATING: Final = re.compile("(?<!and )terminating connection due to")
_NO_CONNECTION_LEFT: Final = re.compile(
    "too many clients|too many connections|remaining connection slots|no more connections allowed"
)
_HOST: Final = re.compile(r"^- host: ", re.MULTILINE)


def sqlstate_of(error: BaseException | None) -> str | None:
    """
    Return the SQLSTATE code of a server's error, or ``None`` if it has no code.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    return original.sqlstate if isinstance(original, Error) else None


def statement_fault(error: BaseException, table: str) -> str | None:
    """
    Return the sentence for a failed statement, or ``None`` for an outage.

    Args:
        error: the error of the statement.
        table: the name of the registry's table.
    """
    state = sqlstate_of(error) or ""
    fault = _STATEMENT_FAULTS.get(state) or _STATEMENT_FAULTS.get(state[:2])
    return fault and fault.format(table=table)


def connection_fault(error: BaseException) -> str | None:
    """
    Return the sentence for a refused connection, or ``None`` for an outage.

    If there are several hosts, it is an outage unless each of them refused with
    a fault, since one of the others may be up again soon.
    """
    text = _text_of(error)
    start, *hosts = _HOST.split(text)
    faults = [_find_fault(host) for host in hosts or [start]]
    return faults[0] if all(faults) else None


def is_table_missing(error: BaseException | None) -> bool:
    """
    Return whether a statement failed because the table was dropped or changed.

    Nothing of the statement was done, so it may be repeated.
    """
    return sqlstate_of(error) in _MISSING_TABLE


def is_read_only(error: BaseException) -> bool:
    """
    Return whether the server refused a statement because it accepts no writes.
    """
    return sqlstate_of(error) == _READ_ONLY


def is_full(error: BaseException) -> bool:
    """
    Return whether a running server had no connection left.
    """
    return _NO_CONNECTION_LEFT.search(_text_of(error)) is not None


def was_terminated(error: BaseException) -> bool:
    """
    Return whether the server closed the connection without doing the statement.
    """
    state = sqlstate_of(error)
    return state in _TERMINATED or (
        state is None and _TERMINATING.search(_text_of(error)) is not None
    )


def _find_fault(text: str) -> str | None:
    return next((fault for pattern, fault in _CONNECTION_FAULTS if pattern.search(text)), None)


def _text_of(error: BaseException) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(original) if isinstance(original, Error) else ""
