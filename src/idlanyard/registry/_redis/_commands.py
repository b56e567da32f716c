"""
Steps at the servers that answer each question, and rows from the answers. Pure.

The steps to an answer are a generator: it yields methods of ``Route`` with their
arguments and is sent the answers. It decides and never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import ceil
from secrets import token_hex
from typing import Any, Final, TypeVar

from idlanyard.registry._questions import (
    Count,
    Delete,
    Extend,
    Insert,
    Page,
    Purge,
    Put,
    Question,
    Read,
    Walk,
)
from idlanyard.registry._record import Draft, Kept, PutResult, Repeated, Row
from idlanyard.registry._redis._claims import (
    DAY,
    NONCE,
    Claim,
    Inserted,
    Steps,
    busy_answer,
    confirm_claim,
    insert_draft,
    limit_claim,
    make_claim,
    new_nonce,
    read_claimed,
    release_claim,
    step_slack,
)
from idlanyard.registry._redis._keys import FIELDS, Namespace, row_of
from idlanyard.registry._redis._paging import drop_names, read_page, tidy_names
from idlanyard.registry._redis._scans import count_sessions, purge_expired, walk_sessions
from idlanyard.registry._redis._scripts import DELETE, EXTEND, PUT, ScriptCall
from idlanyard.registry._redis._settings import REPLICA, FirstLook, check_server, look_first

T = TypeVar("T")

LONG: Final = (Purge, Count, Put)
"""
Questions that are answered in batches, each of which has the whole timeout.
"""
_RESULTS: Final[tuple[PutResult, ...]] = ("expired", "taken", "same", "kept")


class Commands:
    """
    The steps to the answers of one store.

    Args:
        space: names of the store's keys.
        timeout: the most seconds that a question may take.
    """

    def __init__(self, space: Namespace, timeout: float) -> None:
        self._space = space
        self._timeout = timeout
        self._look = FirstLook()

    def steps(self, question: Question[T]) -> Steps[T]:
        """
        Return the steps to an answer. Those of the first question also look at the server.
        """
        steps: Steps[Any] = self._steps(question)
        return look_first(self._look, self._space, steps)

    def _steps(self, question: Question[Any]) -> Steps[Any]:
        space, timeout = self._space, self._timeout
        match question:
            case Read(key):
                return read(space, key)
            case Insert(draft):
                return insert(space, draft, timeout)
            case Extend():
                return extend(space, question, timeout)
            case Delete():
                return delete(space, question, timeout)
            case Page(client_key, after, limit):
                return read_page(space, client_key, after, limit)
            case Count():
                return count_sessions(space)
            case Walk(after, limit):
                return walk_sessions(space, after, limit)
            case Put(sessions):
                return put(space, sessions, timeout)
            case Purge():
                return purge_expired(space)
            case _:
                return check(space, timeout)


def read(space: Namespace, key: bytes) -> Steps[Row | None]:
    """
    Answer ``Read``.
    """
    fields = yield "send", ("HMGET", space.session(key), *FIELDS)
    return None if fields[0] is None else row_of(fields)


def insert(space: Namespace, draft: Draft, timeout: float) -> Steps[Row | Repeated | None]:
    """
    Answer ``Insert``. Steps that are sent twice, since an answer was lost, do no harm.
    """
    nonce, replaced = new_nonce(), b""
    if draft.idempotency is None:
        inserted = yield from _insert_and_tidy(space, draft, nonce)
        return inserted and inserted.row
    while True:
        claim = yield from make_claim(space, draft, nonce, replaced, timeout)
        replaced = b""
        if claim.is_done or claim.request != draft.request:
            row = yield from read_claimed(space, claim)
            if row is not None:
                return Repeated(row, claim.request)
            if not claim.is_done and claim.is_busy:
                return busy_answer(claim, draft)
            # The session is gone, or was never made: our claim replaces this one.
            replaced = claim.nonce
            continue
        done, answer = yield from _insert_claimed(space, draft, claim, timeout)
        if done and isinstance(answer, Row) and claim.nonce != nonce:
            return Repeated(answer, claim.request)
        if done:
            return answer


def extend(space: Namespace, question: Extend, timeout: float) -> Steps[Row | None]:
    """
    Answer ``Extend``.
    """
    key, *wanted = question.key, question.ttl, question.metadata, question.created
    words = [b"" if value is None else value for value in wanted]
    keys, owner, lives = [space.session(key)], b"", b""
    while True:
        answer = yield "run", (EXTEND, keys, [*words, owner, lives])
        if isinstance(answer, bytes):
            owner = answer
            keys = [keys[0], space.index(key, owner), space.ends(key, owner)]
        elif answer is not None and len(answer) < len(FIELDS):
            idempotency, nonce, lives = answer
            yield from limit_claim(space, idempotency, nonce, lives + step_slack(timeout))
        else:
            break
    if answer is None:
        return None
    *fields, client_key, expired = answer
    if expired:
        yield from tidy_names(space, space.index(key, client_key), expired)
    return row_of(fields)


def delete(space: Namespace, question: Delete, timeout: float) -> Steps[Row | None]:
    """
    Answer ``Delete``. The same script sent again within the timeout has the same answer.
    """
    key, created = question.key, question.created
    words = [ceil(timeout * 2000), b"" if created is None else created]
    keys, owner, lives = [space.session(key), space.ended(key, new_nonce())], b"", b""
    while True:
        answer = yield "run", (DELETE, keys, [*words, owner, lives])
        if isinstance(answer, bytes):
            owner = answer
            keys = [*keys[:2], space.index(key, owner), space.ends(key, owner)]
        elif answer is not None and len(answer) < len(FIELDS):
            # A claim without an end would stay for ever if we were cut off after the deletion.
            idempotency, nonce = answer
            yield from limit_claim(space, idempotency, nonce, DAY)
            lives = b"limited"
        else:
            break
    if answer is None:
        return None
    *fields, idempotency, nonce = answer
    if idempotency is not None:
        yield from release_claim(space, idempotency, nonce)
    return row_of(fields)


def put(space: Namespace, sessions: Sequence[Kept], timeout: float) -> Steps[list[PutResult]]:
    """
    Answer ``Put``.
    """
    results: list[PutResult] = ["taken"] * len(sessions)
    left = list(range(len(sessions)))
    while left:
        # Of two sessions with one idempotency key, the second has to meet the first one's claim.
        seen: set[bytes] = set()
        now = [number for number in left if _is_first(sessions[number].idempotency, seen)]
        drafts = {number: _draft_of(sessions[number]) for number in now}
        claims = yield from _make_claims(space, drafts, timeout)
        ready = [number for number in now if number in claims]
        calls = [_put_call(space, sessions[one], drafts[one], claims[one].nonce) for one in ready]
        answers = yield "run_all", (calls,)
        for number, (result, owner) in zip(ready, answers, strict=True):
            results[number] = _RESULTS[result]
            draft, claim = drafts[number], claims[number]
            if owner is not None:
                name = draft.session_id.encode()
                yield from drop_names(space, space.index(draft.key, owner), [name])
            yield from _settle_claim(space, draft, claim, results[number], timeout)
        left = sorted(set(left) - set(now))
    return results


def check(space: Namespace, timeout: float) -> Steps[list[str]]:
    """
    Answer ``Check``. A session with every field is created, extended, found and ended.
    """
    sentences = yield from check_server(space)
    if REPLICA in sentences:
        return sentences
    name = f"check_{token_hex(16)}"
    key, ttl = sha256(name.encode()).digest(), ceil(timeout * 2_000_000)
    yield from insert(space, Draft(key, name, key, name, "{}", ttl, key, key), timeout)
    yield from extend(space, Extend(key, None, None, None), timeout)
    yield from read_page(space, key, None, 1)
    # This right is needed once a client has thousands of expired sessions.
    yield "send", ("ZLEXCOUNT", space.ends(key, key), "-", "+")
    yield from delete(space, Delete(key, None), timeout)
    return sentences


def _insert_and_tidy(space: Namespace, draft: Draft, nonce: bytes) -> Steps[Inserted | None]:
    """
    Insert a draft, and remove some expired IDs from its index.
    """
    inserted = yield from insert_draft(space, draft, nonce)
    if inserted is not None and inserted.expired:
        index = space.index(draft.key, draft.client_key or b"")
        yield from tidy_names(space, index, inserted.expired)
    return inserted


def _insert_claimed(
    space: Namespace, draft: Draft, claim: Claim, timeout: float
) -> Steps[tuple[bool, Row | Repeated | None]]:
    """
    Make the session of a claim, which other processes may be making too.

    Returns:
        Whether the question is answered, and the answer; if not, start again.
    """
    wanted = draft._replace(session_id=claim.session_id, key=claim.key())
    idempotency = draft.idempotency or b""
    inserted = yield from _insert_and_tidy(space, wanted, claim.nonce)
    if inserted is None:
        yield from release_claim(space, idempotency, claim.nonce)
        return claim.session_id == draft.session_id, None
    if inserted.nonce != claim.nonce:
        # The same create made the session before, and its claim was lost since.
        yield from release_claim(space, idempotency, claim.nonce)
        return True, Repeated(inserted.row, inserted.request)
    if (yield from confirm_claim(space, draft, claim, timeout)):
        return True, inserted.row
    if inserted.is_new:
        yield from delete(space, Delete(wanted.key, inserted.row.created), timeout)
    return False, None


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


def _make_claims(
    space: Namespace, drafts: dict[int, Draft], timeout: float
) -> Steps[dict[int, Claim]]:
    """
    Claim the idempotency keys of these sessions; leave out those whose key is another session's.
    """
    claims: dict[int, Claim] = {}
    for number, draft in drafts.items():
        nonce = _put_nonce(draft)
        if draft.idempotency is None:
            claims[number] = Claim(b"", draft.session_id, nonce, is_done=True, is_busy=False)
            continue
        claim = yield from make_claim(space, draft, nonce, b"", timeout)
        while claim.nonce != nonce and claim.session_id != draft.session_id:
            if (yield from read_claimed(space, claim)) is not None or claim.is_busy:
                break
            claim = yield from make_claim(space, draft, nonce, claim.nonce, timeout)
        else:
            claims[number] = claim
    return claims


def _put_nonce(draft: Draft) -> bytes:
    """
    Return the nonce of a session that is put; the same one whenever it is put again.
    """
    return sha256(draft.key + (draft.idempotency or b"")).digest()[:NONCE]


def _put_call(space: Namespace, kept: Kept, draft: Draft, nonce: bytes) -> ScriptCall:
    """
    Return the script that puts a session.
    """
    keys = [space.session(draft.key)]
    if draft.client_key is not None:
        keys.append(space.index(draft.key, draft.client_key))
        keys.append(space.ends(draft.key, draft.client_key))
    given = (kept.ttl, kept.created, kept.expires, kept.client_id, draft.client_key)
    words = [nonce, kept.session_id.encode(), kept.metadata, *given, kept.idempotency, kept.request]
    return PUT, keys, [b"" if word is None else word for word in words]


def _settle_claim(
    space: Namespace, draft: Draft, claim: Claim, result: PutResult, timeout: float
) -> Steps[None]:
    """
    Confirm the claim of a session that was put, or release it.
    """
    if draft.idempotency is None:
        return
    if result in ("same", "kept"):
        ours = claim._replace(request=draft.request or b"")
        yield from confirm_claim(space, draft, ours, timeout)
    elif claim.nonce == _put_nonce(draft):
        yield from release_claim(space, draft.idempotency, claim.nonce)
