"""
What each of a store's methods asks of the server, and makes of the answers.

Each is a generator that yields steps, as the name of a client's method and its
arguments, and is sent the answers. It decides, and never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import ceil
from typing import Any, Final

from idlanyard.registry._record import Draft, Repeated, Row
from idlanyard.registry._redis._claims import (
    DAY,
    Claim,
    Made,
    Steps,
    claim,
    confirm,
    fresh_nonce,
    keep,
    made_by,
    put_in,
    release,
    repeated,
    slack,
)
from idlanyard.registry._redis._layout import (
    FIELDS,
    Layout,
    client_key_of,
    ends_of,
    index_of,
    row_of,
)
from idlanyard.registry._redis._scripts import DELETE, DROP, EXTEND, READ, Asked

BATCH: Final = 100
SCANNED: Final = 1000


def insert(layout: Layout, draft: Draft, timeout: float) -> Steps[Row | Repeated | None]:
    """
    As ``Store.insert``; asked again by redis-py, it answers as it did.
    """
    nonce, replaced = fresh_nonce(), b""
    if draft.idempotency is None:
        made = yield from _made(layout, draft, nonce)
        return made and made.row
    while True:
        held = yield from claim(layout, draft, nonce, replaced, timeout)
        replaced = b""
        if held.is_done or held.request != draft.request:
            row = yield from made_by(layout, held)
            if row is not None:
                return Repeated(row, held.request)
            if not held.is_done and held.is_busy:
                return repeated(held, draft)
            # Its session is gone, or was never made.
            replaced = held.nonce
            continue
        done, answer = yield from _claimed(layout, draft, held, timeout)
        if done and isinstance(answer, Row) and held.nonce != nonce:
            return Repeated(answer, held.request)
        if done:
            return answer


def _claimed(
    layout: Layout, draft: Draft, held: Claim, timeout: float
) -> Steps[tuple[bool, Row | Repeated | None]]:
    """
    Make the session of a claim, which others may be making too; false asks to begin again.
    """
    wanted = draft._replace(session_id=held.session_id, key=held.key())
    idempotency = draft.idempotency or b""
    made = yield from _made(layout, wanted, held.nonce)
    if made is None:
        yield from release(layout, idempotency, held.nonce)
        return held.session_id == draft.session_id, None
    if made.nonce != held.nonce:
        # Its own claim was lost.
        yield from release(layout, idempotency, held.nonce)
        return True, Repeated(made.row, made.request)
    if (yield from confirm(layout, draft, held, timeout)):
        return True, made.row
    if made.is_new:
        yield from delete(layout, wanted.key, made.row.created, timeout)
    return False, None


def _made(layout: Layout, draft: Draft, nonce: bytes) -> Steps[Made | None]:
    """
    Keep a draft, and give up some of what is dead of the same client.
    """
    made = yield from put_in(layout, draft, nonce)
    if made is not None and made.dead:
        index = layout.index(draft.key, draft.client_key or b"")
        yield from drop(layout, index, made.dead)
    return made


def read(layout: Layout, key: bytes) -> Steps[Row | None]:
    """
    As ``Store.read``.
    """
    kept = yield "ask", ("HMGET", layout.session(key), *FIELDS)
    return None if kept[0] is None else row_of(kept)


def extend(
    layout: Layout,
    key: bytes,
    ttl: int | None,
    metadata: str | None,
    created: int | None,
    timeout: float,
) -> Steps[Row | None]:
    """
    As ``Store.extend``.
    """
    given = [b"" if one is None else one for one in (ttl, metadata, created)]
    keys, owner, lives = [layout.session(key)], b"", b""
    while True:
        kept = yield "run", (EXTEND, keys, [*given, owner, lives])
        if isinstance(kept, bytes):
            keys, owner = [keys[0], layout.index(key, kept), layout.ends(key, kept)], kept
        elif kept is not None and len(kept) < len(FIELDS):
            idempotency, nonce, lives = kept
            yield from keep(layout, idempotency, nonce, lives + slack(timeout))
        else:
            return None if kept is None else row_of(kept)


def delete(layout: Layout, key: bytes, created: int | None, timeout: float) -> Steps[Row | None]:
    """
    As ``Store.delete``; asked again by redis-py, within *timeout*, it answers as it did.
    """
    words = [ceil(timeout * 2000), b"" if created is None else created]
    keys, owner, lives = [layout.session(key), layout.ended(key, fresh_nonce())], b"", b""
    while True:
        kept = yield "run", (DELETE, keys, [*words, owner, lives])
        if isinstance(kept, bytes):
            keys, owner = [*keys[:2], layout.index(key, kept), layout.ends(key, kept)], kept
        elif kept is not None and len(kept) < len(FIELDS):
            # Whatever becomes of this end, nothing of it stays for ever.
            idempotency, nonce = kept
            yield from keep(layout, idempotency, nonce, DAY)
            lives = b"soon"
        else:
            break
    if kept is None:
        return None
    *row, idempotency, nonce = kept
    if idempotency is not None:
        yield from release(layout, idempotency, nonce)
    return row_of(row)


def purge(layout: Layout) -> Steps[int]:
    """
    As ``Store.purge``: what has expired is gone, but perhaps not from its client's index.
    """
    purged = 0
    nodes = yield "nodes", ()
    for node in nodes:
        place = 0
        while True:
            place, indexes = yield from scan(node, layout.indexes, place, SCANNED, "zset")
            for first in range(0, len(indexes), BATCH):
                some = indexes[first : first + BATCH]
                ended = {index for one in some if (index := index_of(one))}
                purged += yield from _cleared(layout, ended)
                purged += yield from _swept(layout, [one for one in some if not index_of(one)])
            if not place:
                break
        yield from _released(layout, node)
    return purged


def drop(layout: Layout, index: bytes, names: Sequence[bytes]) -> Steps[int]:
    """
    Take session IDs out of an index whose sessions are not its client's any more.
    """
    gone, _ = yield "run", dropping(layout, index, names)
    counted: int = gone
    return counted


def dropping(layout: Layout, index: bytes, names: Sequence[bytes]) -> Asked:
    """
    Return the script that does that, its keys and its arguments.
    """
    keys = [layout.session(sha256(name).digest()) for name in names]
    return DROP, [index, ends_of(index), *keys], [client_key_of(index), *names]


def scan(
    node: Any, match: str, place: int, number: int, kind: str
) -> Steps[tuple[int, Sequence[bytes]]]:
    """
    Return some keys of a node, about *number*, and where to go on.
    """
    words = ("SCAN", place, "MATCH", match, "COUNT", number, "TYPE", kind)
    found = yield "at", (node, *words)
    return int(found[0]), found[1]


def _cleared(layout: Layout, indexes: set[bytes]) -> Steps[int]:
    """
    Give up the expired IDs beside these indexes, of which some may be out of them.
    """
    gone = 0
    left = sorted(indexes)
    while left:
        words = [b"-", 1, BATCH, BATCH, 0]
        answers = yield "runs", ([(READ, [one, ends_of(one)], words) for one in left],)
        dead = {index: names for index, (*_, names) in zip(left, answers, strict=True) if names}
        dropped = yield "runs", ([dropping(layout, index, dead[index]) for index in dead],)
        gone += sum(number for number, _ in dropped)
        left = [index for index, names in dead.items() if len(names) == BATCH]
    return gone


def _swept(layout: Layout, indexes: Sequence[bytes]) -> Steps[int]:
    """
    Go through some indexes at once, bit by bit.
    """
    gone = 0
    starts = dict.fromkeys(indexes, b"-")
    while starts:
        asked = [
            ("ZRANGEBYLEX", index, start, b"+", "LIMIT", 0, BATCH)
            for index, start in starts.items()
        ]
        answers = yield "batch", (asked,)
        read = {index: names for index, names in zip(starts, answers, strict=True) if names}
        dropped = yield "runs", ([dropping(layout, index, read[index]) for index in read],)
        gone += sum(number for number, _ in dropped)
        starts = {index: b"(" + names[-1] for index, names in read.items() if len(names) == BATCH}
    return gone


def _released(layout: Layout, node: Any) -> Steps[None]:
    """
    Give up the claims of a node whose sessions are gone: an older version has ended them.
    """
    place = 0
    while True:
        place, claims = yield from scan(node, layout.creates, place, SCANNED, "hash")
        made = yield "batch", ([("HMGET", one, "id", "nonce", "done") for one in claims],)
        done = [(one, *kept[:2]) for one, kept in zip(claims, made, strict=True) if kept[2]]
        asked = [("HMGET", layout.session(sha256(name).digest()), "nonce") for _, name, _ in done]
        there = yield "batch", (asked,)
        for (one, _, nonce), kept in zip(done, there, strict=True):
            if kept[0] != nonce:
                yield from release(layout, one[-32:], nonce)
        if not place:
            return
