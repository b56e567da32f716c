"""
Going through all the sessions of a store, in parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from idlanyard.registry._command._places import Place
from idlanyard.registry._command._statuses import UsageError
from idlanyard.registry._questions import Page, Walk
from idlanyard.registry._record import Kept, Row
from idlanyard.registry._rules import key_of

BATCH: Final = 500
LEASE_ID: Final = "idlanyard.registry.move"
"""
The session that a move keeps in its target for as long as it runs; no one else's.
"""


def stretches(place: Place) -> Iterator[list[Kept]]:
    """
    Return the living sessions of a store in parts, in each part none twice.
    """
    after: str | None = None
    while True:
        stretch = place.ask(Walk(after, BATCH))
        yield list({kept.session_id: kept for kept in stretch.sessions}.values())
        after = stretch.after
        if after is None:
            return


def rows_of(place: Place, client_id: str | None) -> Iterator[Row]:
    """
    Return the living sessions of a store one by one; a client's only, if one is given.

    Raises:
        UsageError: there can be no such client.
    """
    if client_id is None:
        for stretch in stretches(place):
            yield from (kept.row() for kept in stretch if kept.session_id != LEASE_ID)
        return
    key, after = checked_key("client", client_id), None
    while True:
        page = place.ask(Page(key, after, BATCH))
        yield from page
        if len(page) < BATCH:
            return
        after = page[-1].session_id


def checked_key(name: str, text: str) -> bytes:
    """
    Return the key of an ID on the command line.

    Raises:
        UsageError: there can be no such ID.
    """
    try:
        return key_of(name, text)
    except ValueError as error:
        raise UsageError(str(error)) from None
