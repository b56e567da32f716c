"""
What a server's refusal means: an outage, or something that waiting will not mend. Pure.

The codes are those of https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

from typing import Final

from psycopg import Error
from sqlalchemy.exc import DBAPIError

_FOREIGN: Final = (
    "the table {table} is not as a registry makes it: give the registry a namespace of its own, "
    "or make the table as docs/registry_machines.md says"
)
_REFUSED: Final = (
    "the table {table} refuses what a registry keeps: give the registry a namespace of its own, "
    "or drop the constraint or trigger that is not the registry's"
)
_ENCODING: Final = (
    "the database's encoding cannot hold every ID: make a database with ENCODING 'UTF8'"
)
# By the whole code, else by its class, the first two characters.
_FAULTS: Final[dict[str, str]] = {
    "28": "the server refuses this role: write the right role and password into the URL",
    "3D": "there is no such database: create it, or write an existing one into the URL",
    "3F": (
        "the schema is not there: create it, or write an existing one into the URL, "
        "as in options=-csearch_path%3Dpublic"
    ),
    "42": _FOREIGN,
    "42501": (
        "this role may not do that: let the owner of the table run "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO the role"
    ),
    "0A": "the server cannot do what a registry needs: use PostgreSQL 12 or later",
    "22": _REFUSED,
    "22021": _ENCODING,
    "22P05": _ENCODING,
    "23": _REFUSED,
    "44": _REFUSED,
}
# The table has gone, or is another one than it was.
_GONE: Final = frozenset({"42P01", "42703", "42P10", "3F000"})


def sqlstate_of(error: BaseException | None) -> str | None:
    """
    Return the code by which the server refused, if it answered with one.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    return original.sqlstate if isinstance(original, Error) else None


def fault_of(error: BaseException, table: str) -> str | None:
    """
    Return the sentence for what waiting will not mend; ``None`` is an outage.

    Args:
        error: what was raised.
        table: the name of the registry's table.
    """
    state = sqlstate_of(error) or ""
    fault = _FAULTS.get(state) or _FAULTS.get(state[:2])
    return fault and fault.format(table=table)


def is_gone(error: BaseException | None) -> bool:
    """
    Return whether the server refused since the table is not there, or not what it was.

    Nothing of the statement was done, so it may be asked again.
    """
    return sqlstate_of(error) in _GONE
