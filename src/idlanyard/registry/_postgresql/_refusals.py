"""
Why a connection was refused: by what libpq says, since it tells no SQLSTATE then.
"""

from __future__ import annotations

import re
from typing import Final

from psycopg import Error
from sqlalchemy.exc import DBAPIError

from idlanyard.registry._postgresql._faults import sqlstate_of

_FULL: Final = re.compile(
    "too many clients|too many connections|remaining connection slots|no more connections allowed"
)
# The statement was refused, so that nothing of it was done. Where the server waited for a
# standby before it ended, all was done; psycopg 3.2.2 has no code for either, only this.
_ENDED: Final = frozenset({"57P01", "57P05", "40001"})
_ENDING: Final = re.compile("(?<!and )terminating connection due to")
# What waiting will not mend, and what will. None of it names users, hosts or secrets.
_FAULTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
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
_HOST: Final = re.compile(r"^- host: ", re.MULTILINE)


def is_full(error: Exception) -> bool:
    """
    Return whether a server that is up had no connection left.
    """
    return _FULL.search(_text_of(error)) is not None


def was_ended(error: BaseException) -> bool:
    """
    Return whether the server ended the connection instead of doing what was asked.
    """
    state = sqlstate_of(error)
    return state in _ENDED or (state is None and _ENDING.search(_text_of(error)) is not None)


def refusal_of(error: BaseException) -> str | None:
    """
    Return the sentence for a connection that will be refused until somebody changes something.

    Of several hosts, each has to refuse in such a way: another one may be up again soon.
    """
    text = _text_of(error)
    start, *hosts = _HOST.split(text)
    faults = [_fault_in(host) for host in hosts or [start]]
    return faults[0] if all(faults) else None


def _fault_in(text: str) -> str | None:
    return next((fault for pattern, fault in _FAULTS if pattern.search(text)), None)


def _text_of(error: BaseException) -> str:
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(original) if isinstance(original, Error) else ""
