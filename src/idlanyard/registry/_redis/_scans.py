"""
Questions about all sessions, answered by a scan of every node's keys: purge, count, walk. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any, Final

from idlanyard.registry._record import Kept, Stretch
from idlanyard.registry._redis._claims import Steps, release_claim
from idlanyard.registry._redis._keys import ALL_FIELDS, Fields, Namespace, index_beside, kept_of
from idlanyard.registry._redis._paging import BATCH, drop_call, read_call

_SCANNED: Final = 1000
_MOST_SCANS: Final = 20
_DIGEST: Final = 32


def purge_expired(space: Namespace) -> Steps[int]:
    """
    Remove the IDs of expired sessions from the clients' indexes; return their number.

    The server itself has already deleted the sessions.
    """
    purged = 0
    nodes = yield "nodes", ()
    for node in nodes:
        place = 0
        while True:
            place, names = yield from _scan(node, space.client_sets, place, _SCANNED, "zset")
            for first in range(0, len(names), BATCH):
                some = names[first : first + BATCH]
                beside = {index for name in some if (index := index_beside(name))}
                purged += yield from _purge_by_ends(space, beside)
                indexes = [name for name in some if index_beside(name) is None]
                purged += yield from _purge_by_names(space, indexes)
            if not place:
                break
        yield from _release_left_claims(space, node)
    return purged


def count_sessions(space: Namespace) -> Steps[int]:
    """
    Return the number of living sessions.
    """
    counted = 0
    nodes = yield "nodes", ()
    for node in nodes:
        place = 0
        while True:
            place, names = yield from _scan(node, space.sessions, place, _SCANNED, "hash")
            counted += len(names)
            if not place:
                break
    return counted


def walk_sessions(space: Namespace, after: str | None, limit: int) -> Steps[Stretch]:
    """
    Return the next part of all sessions, in the order of the servers' own hash tables.

    Raises:
        ValueError: *after* is not a position of these servers since they were started.
    """
    nodes = yield "nodes", ()
    mark = yield from _mark_of(nodes)
    number, place = (0, 0) if after is None else _parse_position(after, mark, len(nodes))
    sessions: list[Kept] = []
    for _ in range(_MOST_SCANS):
        place, names = yield from _scan(nodes[number], space.sessions, place, limit, "hash")
        if names:
            answers = yield "send_all", ([("HMGET", name, *ALL_FIELDS) for name in names],)
            sessions += _living_sessions(answers)
        number += not place
        if number == len(nodes):
            return Stretch(sessions, None)
        if len(sessions) * 2 >= limit:
            break
    return Stretch(sessions, f"{number}-{place}-{mark}")


def _scan(
    node: Any, pattern: str, place: int, number: int, kind: str
) -> Steps[tuple[int, Sequence[bytes]]]:
    """
    Return the next place and the names of some keys of a node, about *number*.
    """
    words = ("SCAN", place, "MATCH", pattern, "COUNT", number, "TYPE", kind)
    found = yield "send_to", (node, *words)
    return int(found[0]), found[1]


def _purge_by_ends(space: Namespace, indexes: Collection[bytes]) -> Steps[int]:
    """
    Remove the expired IDs that are in the ends beside these indexes.
    """
    removed = 0
    left = sorted(indexes)
    while left:
        calls = [read_call(index, b"-", 1, BATCH, BATCH, "stop") for index in left]
        answers = yield "run_all", (calls,)
        suspects = [answer[3] for answer in answers]
        expired = {index: names for index, names in zip(left, suspects, strict=True) if names}
        calls = [drop_call(space, index, expired[index]) for index in expired]
        dropped = yield "run_all", (calls,)
        removed += sum(number for number, _, _ in dropped)
        left = [index for index, names in expired.items() if len(names) >= BATCH]
    return removed


def _purge_by_names(space: Namespace, indexes: Sequence[bytes]) -> Steps[int]:
    """
    Look up all sessions of these indexes, and remove the IDs of those that are gone.
    """
    removed = 0
    starts = dict.fromkeys(indexes, b"-")
    while starts:
        commands = [
            ("ZRANGEBYLEX", index, start, b"+", "LIMIT", 0, BATCH)
            for index, start in starts.items()
        ]
        answers = yield "send_all", (commands,)
        read = {index: names for index, names in zip(starts, answers, strict=True) if names}
        dropped = yield "run_all", ([drop_call(space, index, read[index]) for index in read],)
        removed += sum(number for number, _, _ in dropped)
        starts = {index: b"(" + names[-1] for index, names in read.items() if len(names) == BATCH}
    return removed


def _release_left_claims(space: Namespace, node: Any) -> Steps[None]:
    """
    Delete a node's claims whose sessions are gone: a process of layout 1 has ended them.
    """
    place = 0
    while True:
        place, claims = yield from _scan(node, space.claims, place, _SCANNED, "hash")
        made = yield "send_all", ([("HMGET", claim, "id", "nonce", "done") for claim in claims],)
        done = [(claim, *has[:2]) for claim, has in zip(claims, made, strict=True) if has[2]]
        keys = [space.session(sha256(name).digest()) for _, name, _ in done]
        there = yield "send_all", ([("HMGET", key, "nonce") for key in keys],)
        for (claim, _, nonce), fields in zip(done, there, strict=True):
            if fields[0] != nonce:
                yield from release_claim(space, claim[-_DIGEST:], nonce)
        if not place:
            return


def _living_sessions(answers: Sequence[Fields]) -> list[Kept]:
    return [kept_of(fields) for fields in answers if fields[0] is not None]


def _mark_of(nodes: Sequence[Any]) -> Steps[str]:
    """
    Return a text that differs once any of the servers is another one or was restarted.
    """
    runs: list[str] = []
    for node in nodes:
        info: dict[str, Any] | None = yield "try_send_to", (node, "INFO", "server")
        runs.append(str(info and info.get("run_id")))
    return sha256(" ".join(runs).encode()).hexdigest()[:16]


def _parse_position(after: str, mark: str, nodes: int) -> tuple[int, int]:
    """
    Return the number of the node and the place in its table.

    Raises:
        ValueError: *after* is not such a position.
    """
    number, _, rest = after.partition("-")
    place, _, there = rest.partition("-")
    if not number.isdecimal() or not place.isdecimal() or int(number) >= nodes:
        raise ValueError("this place is not one of redis://: begin anew")
    if there != mark:
        raise ValueError("the server was started again, or another has taken over: begin anew")
    return int(number), int(place)
