"""
Claims of idempotency keys: of many equal creates one makes the session, and all get its row.

The session and the claim of its key may be in different slots of a cluster, so
that no single step can change both. The claim comes first and fixes the ID and
the nonce of the session; every create with the same request helps to make that
session. Once it is made the claim is confirmed, and only then does any create
return. A create that another one has overtaken undoes its own session.

A claim is valid while the session with its nonce lives, or while the session is
being made. A claim that was left behind is replaced by the next create. Claims
expire later than their sessions: a touch extends the claim first.
"""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from math import ceil
from os import urandom
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from idlanyard.registry._record import Draft, Repeated, Row
from idlanyard.registry._redis._keys import FIELDS, Namespace, row_of
from idlanyard.registry._redis._scripts import INSERT, script_of

T = TypeVar("T")
Step: TypeAlias = tuple[str, tuple[Any, ...]]
"""
Name of a method of ``Route`` and its arguments.
"""
Steps: TypeAlias = Generator[Step, Any, T]
"""
Generator of the steps to an answer, which is sent the answer to each step.
"""

NONCE: Final = 16
DAY: Final = 24 * 3600 * 1000
"""
Milliseconds for which a claim lives if its session may live for ever.
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
Claim an idempotency key; the answer is the valid claim, this one or an earlier one.

Answer: the request, the ID, the nonce, whether the session was made, and
whether another process may be about to make it.

Keys: the claim. Arguments: request, ID, nonce, the milliseconds for which it
lives, the nonce of a claim to replace or empty, the milliseconds that a process
may take to make the session.
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
Note that the session of a claim was made; the answer is 0 if another claim has replaced it.

Keys: the claim. Arguments: request, ID, nonce, the milliseconds for which it
lives at least, or empty for ever.
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
Make a claim expire, but not before some milliseconds have passed.

Keys: the claim. Arguments: its nonce, the milliseconds.
"""

RELEASE: Final = script_of(
    """
return redis.call('HGET', KEYS[1], 'nonce') == ARGV[1] and redis.call('DEL', KEYS[1])
""",
)
"""
Delete a claim.

Keys: the claim. Arguments: its nonce.
"""


class Claim(NamedTuple):
    """
    Claim of an idempotency key.

    Attributes:
        request: digest of the request.
        session_id: ID of the session.
        nonce: nonce of the session.
        is_done: whether the session was made.
        is_busy: whether another process may be about to make it.
    """

    request: bytes
    session_id: str
    nonce: bytes
    is_done: bool
    is_busy: bool

    def key(self) -> bytes:
        """
        Return the key of the session.
        """
        return sha256(self.session_id.encode()).digest()


class Inserted(NamedTuple):
    """
    Answer to the script that inserts a session.

    Attributes:
        row: the session.
        expired: expired IDs of the same index, to be removed.
        is_new: whether the session was not there before.
        nonce: nonce of the session.
        request: digest of the request that made the session.
    """

    row: Row
    expired: list[bytes]
    is_new: bool
    nonce: bytes
    request: bytes


def make_claim(
    space: Namespace, draft: Draft, nonce: bytes, replaced: bytes, timeout: float
) -> Steps[Claim]:
    """
    Claim the draft's idempotency key; return the valid claim, which may be an earlier one.
    """
    lives = claim_lifetime(draft, timeout) or DAY
    busy = ceil(timeout * 2000)
    words = [draft.request, draft.session_id.encode(), nonce, lives, replaced, busy]
    answer = yield "run", (CLAIM, [_claim_name(space, draft)], words)
    request, name, valid, is_done, is_busy = answer
    return Claim(request, str(name, "utf-8"), valid, bool(is_done), bool(is_busy))


def confirm_claim(space: Namespace, draft: Draft, claim: Claim, timeout: float) -> Steps[bool]:
    """
    Note that the claim's session was made; return whether the claim is still valid.
    """
    lives = claim_lifetime(draft, timeout) or b""
    words = [claim.request, claim.session_id.encode(), claim.nonce, lives]
    return bool((yield "run", (CONFIRM, [_claim_name(space, draft)], words)))


def release_claim(space: Namespace, idempotency: bytes, nonce: bytes) -> Steps[None]:
    """
    Delete a claim.
    """
    yield "run", (RELEASE, [space.claim(idempotency)], [nonce])


def limit_claim(space: Namespace, idempotency: bytes, nonce: bytes, lives: int) -> Steps[None]:
    """
    Make a claim expire, but not before *lives* milliseconds have passed.
    """
    yield "run", (KEEP, [space.claim(idempotency)], [nonce, lives])


def read_claimed(space: Namespace, claim: Claim) -> Steps[Row | None]:
    """
    Return the session that a claim made, if it is alive.
    """
    nonce, *fields = yield "send", ("HMGET", space.session(claim.key()), "nonce", *FIELDS)
    return row_of(fields) if nonce == claim.nonce else None


def _claim_name(space: Namespace, draft: Draft) -> bytes:
    return space.claim(draft.idempotency or b"")


def claim_lifetime(draft: Draft, timeout: float) -> int | None:
    """
    Return the milliseconds for which a claim lives at least; ``None`` means for ever.

    That is twice the session's time, as for its index, and the time of two questions.
    """
    return None if draft.ttl is None else ceil(draft.ttl / 500) + step_slack(timeout)


def step_slack(timeout: float) -> int:
    """
    Return the milliseconds that may pass between two steps, at servers whose clocks differ.
    """
    return ceil(timeout * 2000) + 1000


def new_nonce() -> bytes:
    """
    Return a random nonce.
    """
    return urandom(NONCE)


def insert_draft(space: Namespace, draft: Draft, nonce: bytes) -> Steps[Inserted | None]:
    """
    Insert a draft with its own ID; return ``None`` if another session has the ID.
    """
    keys = [space.session(draft.key)]
    ttl = b"" if draft.ttl is None else draft.ttl
    words = [nonce, draft.session_id.encode(), draft.metadata, ttl]
    if draft.client_key is not None and draft.client_id is not None:
        keys.append(space.index(draft.key, draft.client_key))
        keys.append(space.ends(draft.key, draft.client_key))
        words += (draft.client_id.encode(), draft.client_key)
    if draft.idempotency is not None and draft.request is not None:
        words += [b"", b""] if len(keys) == 1 else []
        words += (draft.idempotency, draft.request)
    answer = yield "run", (INSERT, keys, words)
    if answer is None:
        return None
    created, expires, expired, is_new, *before = answer
    row = Row(
        draft.session_id,
        draft.client_id,
        draft.metadata,
        int(created),
        None if expires is None else int(expires),
    )
    valid, request = before or (nonce, draft.request)
    return Inserted(row, expired, bool(is_new), valid, request or b"")


def busy_answer(claim: Claim, draft: Draft) -> Repeated:
    """
    Return the answer to a create whose key another request is using at this moment.
    """
    row = Row(claim.session_id, draft.client_id, draft.metadata, 0, None)
    return Repeated(row, claim.request)
