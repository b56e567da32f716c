"""
Creates with an idempotency key: which of them makes the session, and how the others are answered.

The session and the claim of its key may be in different slots of a cluster,
so that no one step changes both. The claim comes first, and says which ID and
which nonce the session is to have; whoever comes with the same request helps
to make that one. When it is made the claim is confirmed, and only then is
anybody answered. Whoever was overtaken before that undoes what they made.

A claim counts while its session lives, told by the nonce, or while it is being
made. One that is left behind gives way to the next create. It expires later
than its session, which has it moved before a touch goes beyond it.
"""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from math import ceil
from os import urandom
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from idlanyard.registry._record import Draft, Repeated, Row
from idlanyard.registry._redis._layout import FIELDS, Layout, row_of
from idlanyard.registry._redis._scripts import INSERT, script_of

T = TypeVar("T")
Step: TypeAlias = tuple[str, tuple[Any, ...]]
Steps: TypeAlias = Generator[Step, Any, T]

NONCE: Final = 16
DAY: Final = 24 * 3600 * 1000
"""
For how many milliseconds a claim lives of which nobody knows whether its session does.
"""

CLAIM: Final = script_of(
    """
local claim = KEYS[1]
local request, id, nonce, lives, replaced, busy = unpack(ARGV)
local time = redis.call('TIME')
local moment = math.floor(time[1] * 1000 + time[2] / 1000)
local kept = redis.call('HMGET', claim, 'request', 'id', 'nonce', 'done', 'until')
if kept[3] and kept[3] ~= replaced then
  local is_busy = not kept[4] and tonumber(kept[5]) > moment
  if kept[1] == request and not kept[4] then
    redis.call('HSET', claim, 'until', moment + busy)
    local left = redis.call('PTTL', claim)
    if left < tonumber(lives) then
      redis.call('PEXPIRE', claim, lives)
    end
  end
  return {kept[1], kept[2], kept[3], kept[4], is_busy}
end
redis.call('DEL', claim)
redis.call('HSET', claim, 'request', request, 'id', id, 'nonce', nonce, 'until', moment + busy)
redis.call('PEXPIRE', claim, lives)
return {request, id, nonce, false, true}
""",
)
"""
Claim an idempotency key: the claim that counts, which is this one or an earlier one.

Its parts are the request, the ID, the nonce, whether the session was made, and
whether it may be about to be made.

Keys: the claim. Arguments: request, ID, nonce, for how many milliseconds it
lives, the nonce of a claim that gives way or nothing, for how many
milliseconds the session may be about to be made.
"""

CONFIRM: Final = script_of(
    """
local claim = KEYS[1]
local request, id, nonce, lives = unpack(ARGV)
local kept = redis.call('HGET', claim, 'nonce')
if kept and kept ~= nonce then
  return 0
end
redis.call('HSET', claim, 'request', request, 'id', id, 'nonce', nonce, 'done', 1)
if lives == '' then
  redis.call('PERSIST', claim)
elseif redis.call('PTTL', claim) < tonumber(lives) then
  redis.call('PEXPIRE', claim, lives)
end
return 1
""",
)
"""
Note that the session of a claim is made: 1, or 0 where another claim has taken its place.

Keys: the claim. Arguments: request, ID, nonce, for how many milliseconds it
lives at least, or nothing for ever.
"""

KEEP: Final = script_of(
    """
if redis.call('HGET', KEYS[1], 'nonce') == ARGV[1]
    and redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
""",
)
"""
Let a claim live for so many milliseconds at least, and not for ever.

Keys: the claim. Arguments: its nonce, how many.
"""

RELEASE: Final = script_of(
    """
return redis.call('HGET', KEYS[1], 'nonce') == ARGV[1] and redis.call('DEL', KEYS[1])
""",
)
"""
Give a claim up.

Keys: the claim. Arguments: its nonce.
"""


class Claim(NamedTuple):
    """
    Claim of an idempotency key.

    Attributes:
        request: the digest of the request that it is for.
        session_id: the ID that its session has, or is to have.
        nonce: the nonce of that session.
        is_done: whether the session was made.
        is_busy: whether it may be about to be made.
    """

    request: bytes
    session_id: str
    nonce: bytes
    is_done: bool
    is_busy: bool

    def key(self) -> bytes:
        """
        Return the key of its session.
        """
        return sha256(self.session_id.encode()).digest()


class Made(NamedTuple):
    """
    Answer to an insert.

    Attributes:
        row: the session that is there now.
        dead: IDs of the same client that may be given up.
        is_new: whether this insert made it.
        nonce: the nonce of one that was there.
        request: the request that has made it.
    """

    row: Row
    dead: list[bytes]
    is_new: bool
    nonce: bytes
    request: bytes


def claim(
    layout: Layout, draft: Draft, nonce: bytes, replaced: bytes, timeout: float
) -> Steps[Claim]:
    """
    Claim the draft's idempotency key, or return the claim that counts.
    """
    keys = [layout.create(draft.idempotency or b"")]
    lives = lifetime(draft, timeout) or DAY
    busy = ceil(timeout * 2000)
    words = [draft.request, draft.session_id.encode(), nonce, lives, replaced, busy]
    request, name, held, is_done, is_busy = yield "run", (CLAIM, keys, words)
    return Claim(request, str(name, "utf-8"), held, bool(is_done), bool(is_busy))


def confirm(layout: Layout, draft: Draft, held: Claim, timeout: float) -> Steps[bool]:
    """
    Return whether the session that a claim has made stands.
    """
    keys = [layout.create(draft.idempotency or b"")]
    lives = lifetime(draft, timeout) or b""
    words = [held.request, held.session_id.encode(), held.nonce, lives]
    return bool((yield "run", (CONFIRM, keys, words)))


def release(layout: Layout, idempotency: bytes, nonce: bytes) -> Steps[None]:
    """
    Give a claim up.
    """
    yield "run", (RELEASE, [layout.create(idempotency)], [nonce])


def keep(layout: Layout, idempotency: bytes, nonce: bytes, lives: int) -> Steps[None]:
    """
    Let a claim live for so many milliseconds at least, and not for ever.
    """
    yield "run", (KEEP, [layout.create(idempotency)], [nonce, lives])


def made_by(layout: Layout, held: Claim) -> Steps[Row | None]:
    """
    Return the living session of a claim.
    """
    nonce, *kept = yield "ask", ("HMGET", layout.session(held.key()), "nonce", *FIELDS)
    return row_of(kept) if nonce == held.nonce else None


def lifetime(draft: Draft, timeout: float) -> int | None:
    """
    Return for how many milliseconds a claim lives at least, ``None`` where that is for ever.

    Twice what the session needs, as its index does, and what two questions may take.
    """
    return None if draft.ttl is None else ceil(draft.ttl / 500) + slack(timeout)


def slack(timeout: float) -> int:
    """
    Return how many milliseconds may pass between two steps, in which clocks differ.
    """
    return ceil(timeout * 2000) + 1000


def fresh_nonce() -> bytes:
    """
    Return a nonce that nobody has.
    """
    return urandom(NONCE)


def put_in(layout: Layout, draft: Draft, nonce: bytes) -> Steps[Made | None]:
    """
    Keep a draft as it is; ``None`` where its ID is taken.
    """
    keys = [layout.session(draft.key)]
    ttl = b"" if draft.ttl is None else draft.ttl
    words = [nonce, draft.session_id.encode(), draft.metadata, ttl]
    if draft.client_key is not None and draft.client_id is not None:
        keys.append(layout.index(draft.key, draft.client_key))
        keys.append(layout.ends(draft.key, draft.client_key))
        words += (draft.client_id.encode(), draft.client_key)
    if draft.idempotency is not None and draft.request is not None:
        words += [b"", b""] if len(keys) == 1 else []
        words += (draft.idempotency, draft.request)
    answer = yield "run", (INSERT, keys, words)
    if answer is None:
        return None
    created, expires, dead, is_new, *before = answer
    row = Row(
        draft.session_id,
        draft.client_id,
        draft.metadata,
        int(created),
        None if expires is None else int(expires),
    )
    held, request = before or (nonce, draft.request)
    return Made(row, dead, bool(is_new), held, request or b"")


def repeated(held: Claim, draft: Draft) -> Repeated:
    """
    Return what a create is told whose key is another request's, which is under way.
    """
    row = Row(held.session_id, draft.client_id, draft.metadata, 0, None)
    return Repeated(row, held.request)
