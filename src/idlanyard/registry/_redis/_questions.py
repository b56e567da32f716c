"""
What each of a store's methods asks of the server, and makes of the answers.

Each is a generator that yields steps, as the name of a client's method and its
arguments, and is sent the answers. It decides, and never waits.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from hashlib import sha256
from math import ceil
from os import urandom
from typing import Any, Final, TypeAlias, TypeVar

from idlanyard.registry._record import Draft, Row
from idlanyard.registry._redis._layout import FIELDS, Layout, client_key_of, row_of
from idlanyard.registry._redis._scripts import DELETE, DROP, EXTEND, INSERT

T = TypeVar("T")
Step: TypeAlias = tuple[str, tuple[Any, ...]]
Question: TypeAlias = Generator[Step, Any, T]

BATCH: Final = 100
SCANNED: Final = 1000
_NONCE: Final = 16


def insert(layout: Layout, draft: Draft) -> Question[Row | None]:
    """
    As ``Store.insert``; asked again by redis-py, it answers as it did.
    """
    keys = [layout.session(draft.key)]
    ttl = b"" if draft.ttl is None else draft.ttl
    words = [urandom(_NONCE), draft.session_id.encode(), draft.metadata, ttl]
    if draft.client_key is not None and draft.client_id is not None:
        keys.append(layout.index(draft.key, draft.client_key))
        words += (draft.client_id.encode(), draft.client_key)
    times = yield "run", (INSERT, keys, words)
    if times is None:
        return None
    created, expires = times
    return Row(
        draft.session_id,
        draft.client_id,
        draft.metadata,
        int(created),
        None if expires is None else int(expires),
    )


def read(layout: Layout, key: bytes) -> Question[Row | None]:
    """
    As ``Store.read``.
    """
    kept = yield "ask", ("HMGET", layout.session(key), *FIELDS)
    return None if kept[0] is None else row_of(kept)


def extend(layout: Layout, key: bytes, ttl: int | None) -> Question[Row | None]:
    """
    As ``Store.extend``.
    """
    given = b"" if ttl is None else ttl
    kept = yield "run", (EXTEND, [layout.session(key)], [given, b""])
    while isinstance(kept, bytes):
        keys = [layout.session(key), layout.index(key, kept)]
        kept = yield "run", (EXTEND, keys, [given, kept])
    return None if kept is None else row_of(kept)


def delete(layout: Layout, key: bytes, created: int | None, timeout: float) -> Question[Row | None]:
    """
    As ``Store.delete``; asked again by redis-py, within *timeout*, it answers as it did.
    """
    words = [ceil(timeout * 2000), b"" if created is None else created]
    keys = [layout.session(key), layout.ended(key, urandom(_NONCE))]
    kept = yield "run", (DELETE, keys, [*words, b""])
    while isinstance(kept, bytes):
        kept = yield "run", (DELETE, [*keys, layout.index(key, kept)], [*words, kept])
    return None if kept is None else row_of(kept)


def purge(layout: Layout) -> Question[int]:
    """
    As ``Store.purge``: what has expired is gone, but not from its client's index.
    """
    purged = 0
    nodes = yield "nodes", ()
    for node in nodes:
        place = 0
        while True:
            place, indexes = yield "scan", (node, layout.indexes, place)
            for index in indexes:
                purged += yield from _swept(layout, index)
            if not place:
                break
    return purged


def drop(layout: Layout, index: bytes, names: Sequence[bytes]) -> Question[int]:
    """
    Take session IDs out of an index whose sessions are not its client's any more.
    """
    client_key = client_key_of(index)
    keys = [layout.session(sha256(name).digest()) for name in names]
    gone: int = yield "run", (DROP, [index, *keys], [client_key, *names])
    return gone


def _swept(layout: Layout, index: bytes) -> Question[int]:
    """
    Go through an index, bit by bit.
    """
    gone, start = 0, b"-"
    while True:
        names = yield "ask", ("ZRANGEBYLEX", index, start, b"+", "LIMIT", 0, BATCH)
        if names:
            gone += yield from drop(layout, index, names)
            start = b"(" + names[-1]
        if len(names) < BATCH:
            return gone
