"""
All the sessions: how many there are, each of them, and those of another store.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from idlanyard.registry._record import Draft, Kept, PutResult, Stretch
from idlanyard.registry._redis._claims import (
    NONCE,
    Claim,
    Steps,
    claim,
    confirm,
    made_by,
    release,
)
from idlanyard.registry._redis._layout import WHOLE, Fields, Layout, kept_of
from idlanyard.registry._redis._questions import SCANNED, drop, scan
from idlanyard.registry._redis._scripts import INDEXES, TIMES, Asked, script_of

_ROUNDS: Final = 20
_OUTCOMES: Final[tuple[PutResult, ...]] = ("expired", "taken", "same", "kept")

PUT: Final = script_of(
    TIMES,
    INDEXES,
    """
local session, index, ends = KEYS[1], KEYS[2], KEYS[3]
local nonce, id, metadata, ttl, created, expires,
  client, client_key, idempotency, request = unpack(ARGV)
local moment = now()
expires = expires ~= '' and tonumber(expires)
if expires and expires <= moment then
  return {0, false}
end
local kept = redis.call('HMGET', session, 'id', 'created', 'client_key')
if kept[1] and kept[2] ~= created then
  return {1, false}
end
local dies = expires and last(moment, expires)
local wanted = dies and dies + math.ceil(ttl / 1000)
-- What may be refused comes first: what a script has done is not undone.
local indexed = index and enter(index, ends, id, moment, expires, wanted)
redis.call('DEL', session)
redis.call('HSET', session, 'id', id, 'metadata', metadata, 'created', created, 'nonce', nonce)
if index then
  redis.call('HSET', session, 'client', client, 'client_key', client_key, 'indexed', indexed)
end
if idempotency ~= '' then
  redis.call('HSET', session,
    'idempotency', idempotency, 'request', request, 'claimed', wanted or '')
end
if ttl ~= '' then
  redis.call('HSET', session, 'ttl', ttl)
end
if expires then
  redis.call('HSET', session, 'expires', expires)
  redis.call('PEXPIREAT', session, dies)
end
return {kept[1] and 2 or 3, kept[3] ~= client_key and kept[3]}
""",
)
"""
Keep a session as another store kept it: the number of its outcome, and the
client's key under which it was before where that was another's.

Keys: the session; where there is a client, its index and its ends. Arguments:
nonce, ID, metadata, time to live, created, expires, client, its key,
idempotency key, request; each of these from the time to live on may be nothing.
"""


def count(layout: Layout) -> Steps[int]:
    """
    As ``Store.count``.
    """
    counted = 0
    nodes = yield "nodes", ()
    for node in nodes:
        place = 0
        while True:
            place, keys = yield from scan(node, layout.sessions, place, SCANNED, "hash")
            counted += len(keys)
            if not place:
                break
    return counted


def walk(layout: Layout, after: str | None, limit: int) -> Steps[Stretch]:
    """
    As ``Store.walk``: in the order of the server's own table.

    Raises:
        ValueError: *after* is no place in it, or another server has taken over since.
    """
    nodes = yield "nodes", ()
    mark = yield from _mark(nodes)
    number, place = (0, 0) if after is None else _place_of(after, mark, len(nodes))
    sessions: list[Kept] = []
    for _ in range(_ROUNDS):
        place, keys = yield from scan(nodes[number], layout.sessions, place, limit, "hash")
        if keys:
            answers = yield "batch", ([("HMGET", key, *WHOLE) for key in keys],)
            sessions += _living(answers)
        number += not place
        if number == len(nodes):
            return Stretch(sessions, None)
        if len(sessions) * 2 >= limit:
            break
    return Stretch(sessions, f"{number}-{place}-{mark}")


def _living(answers: Sequence[Fields]) -> list[Kept]:
    return [kept_of(kept) for kept in answers if kept[0] is not None]


def _mark(nodes: Sequence[Any]) -> Steps[str]:
    """
    Return what tells these servers, as they run now, from all others.
    """
    runs: list[str] = []
    for node in nodes:
        told: dict[str, Any] | None = yield "told", (node, "INFO", "server")
        runs.append(str(told and told.get("run_id")))
    return sha256(" ".join(runs).encode()).hexdigest()[:16]


def _place_of(after: str, mark: str, nodes: int) -> tuple[int, int]:
    number, _, rest = after.partition("-")
    place, _, there = rest.partition("-")
    if not number.isdecimal() or not place.isdecimal() or int(number) >= nodes:
        raise ValueError("this place is not one of redis://: begin anew")
    if there != mark:
        raise ValueError("the server was started again, or another has taken over: begin anew")
    return int(number), int(place)


def put(layout: Layout, sessions: Sequence[Kept], timeout: float) -> Steps[list[PutResult]]:
    """
    As ``Store.put``.
    """
    outcomes: list[PutResult] = ["taken"] * len(sessions)
    left = list(range(len(sessions)))
    while left:
        # Of two with one idempotency key the second is to meet the first.
        seen: set[bytes] = set()
        now = [number for number in left if _is_first(sessions[number].idempotency, seen)]
        drafts = {number: _draft_of(sessions[number]) for number in now}
        claims = yield from _claims(layout, drafts, timeout)
        ready = [number for number in now if number in claims]
        asked = [_putting(layout, sessions[one], drafts[one], claims[one].nonce) for one in ready]
        answers = yield "runs", (asked,)
        for number, (outcome, owner) in zip(ready, answers, strict=True):
            outcomes[number] = _OUTCOMES[outcome]
            yield from _settle(layout, drafts[number], claims[number], outcome, owner, timeout)
        left = sorted(set(left) - set(now))
    return outcomes


def _is_first(idempotency: bytes | None, seen: set[bytes]) -> bool:
    if idempotency is None:
        return True
    is_first = idempotency not in seen
    seen.add(idempotency)
    return is_first


def _draft_of(kept: Kept) -> Draft:
    client_key = None if kept.client_id is None else sha256(kept.client_id.encode()).digest()
    return Draft(
        sha256(kept.session_id.encode()).digest(),
        kept.session_id,
        client_key,
        kept.client_id,
        kept.metadata,
        kept.ttl,
        kept.idempotency,
        kept.request,
    )


def _claims(layout: Layout, drafts: dict[int, Draft], timeout: float) -> Steps[dict[int, Claim]]:
    """
    Claim the idempotency keys of these sessions; one whose key is another's is left out.
    """
    claims: dict[int, Claim] = {}
    for number, draft in drafts.items():
        nonce = _nonce_of(draft)
        if draft.idempotency is None:
            claims[number] = Claim(b"", draft.session_id, nonce, is_done=True, is_busy=False)
            continue
        held = yield from claim(layout, draft, nonce, b"", timeout)
        while held.nonce != nonce and held.session_id != draft.session_id:
            if (yield from made_by(layout, held)) is not None or held.is_busy:
                break
            held = yield from claim(layout, draft, nonce, held.nonce, timeout)
        else:
            claims[number] = held
    return claims


def _nonce_of(draft: Draft) -> bytes:
    """
    Return the same nonce whenever this session is put with this idempotency key.
    """
    return sha256(draft.key + (draft.idempotency or b"")).digest()[:NONCE]


def _putting(layout: Layout, kept: Kept, draft: Draft, nonce: bytes) -> Asked:
    keys = [layout.session(draft.key)]
    if draft.client_key is not None:
        keys.append(layout.index(draft.key, draft.client_key))
        keys.append(layout.ends(draft.key, draft.client_key))
    given = (kept.ttl, kept.created, kept.expires, kept.client_id, draft.client_key)
    words = [nonce, kept.session_id.encode(), kept.metadata, *given, kept.idempotency, kept.request]
    return PUT, keys, [b"" if word is None else word for word in words]


def _settle(
    layout: Layout, draft: Draft, held: Claim, outcome: int, owner: bytes | None, timeout: float
) -> Steps[None]:
    """
    Confirm the claim of a session that was put, or give it up.
    """
    if owner is not None:
        yield from drop(layout, layout.index(draft.key, owner), [draft.session_id.encode()])
    if draft.idempotency is None:
        return
    if _OUTCOMES[outcome] in ("same", "kept"):
        yield from confirm(layout, draft, held._replace(request=draft.request or b""), timeout)
    elif held.nonce == _nonce_of(draft):
        yield from release(layout, draft.idempotency, held.nonce)
