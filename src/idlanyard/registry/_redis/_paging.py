"""
One page of a client's sessions, out of the 64 indexes that they are spread over.

Of each index a little more is read than its share of the page, so that one
round of questions finds the page, and however long the indexes are no more
than some pages are ever held.

Of those that expire the server knows when, and reads past the expired ones.
Where few are living it reads those alone; else the expired IDs that are in the
way leave the index, so that each is met by one page only. A page looks for a
few of their sessions: where one of them is living after all, since a process
of the first layout has extended it, it looks for all of them before it reads.
IDs of which the server does not know when they expire are those of the first
layout: their sessions are looked for, by thousands where most of them are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from idlanyard.registry._record import Row
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._layout import FIELDS, TAGS, Fields, Layout, ends_of, row_of
from idlanyard.registry._redis._questions import BATCH, SCANNED, drop, dropping
from idlanyard.registry._redis._scripts import READ, Asked

_SPARE: Final = 8
_FEW: Final = 16
"""
Up to how many expired sessions of an index a page looks for all of them.
"""
_SAMPLE: Final = 4
_MANY: Final = 16
_WANTED: Final = (*FIELDS, "client_key")


class _Walk:
    """
    How far one index has been read: the IDs that wait, and whether more may follow.
    """

    __slots__ = ("dead", "gone", "has_more", "index", "is_littered", "names", "share", "start")

    def __init__(self, index: bytes, start: bytes, share: int) -> None:
        self.index = index
        self.start = start
        self.share = share
        self.names: deque[bytes] = deque()
        self.dead: list[bytes] = []
        self.gone: list[bytes] = []
        self.has_more = True
        self.is_littered = False

    def reading(self, most: int, least: int, clears: bool) -> Asked:
        words = [self.start, self.share, most, least, int(clears)]
        return READ, [self.index, ends_of(self.index)], words

    def add(self, names: Sequence[bytes], has_more: object, start: bytes) -> None:
        # Lua would compare them as the server's locale does.
        floor = self.start[1:]
        self.names.extend(sorted(name for name in names if name > floor))
        self.has_more = bool(has_more)
        if len(names) >= self.share:
            # An index that filled its share is read in larger steps next time.
            self.share = min(self.share * 2, SCANNED)
        self.start = start


def page(layout: Layout, client_key: bytes, after: str | None, limit: int) -> Steps[list[Row]]:
    """
    As ``Store.page``; what is not this client's any more leaves its index.
    """
    start = b"-" if after is None else b"(" + after.encode()
    share = limit // TAGS * 2 + _SPARE
    walks = yield from _begun(layout, client_key, start, share)
    rows: list[Row] = []
    while len(rows) < limit:
        yield from _read_on(layout, walks)
        found = _next(walks, min(limit - len(rows), BATCH))
        if not found:
            break
        rows += yield from _rows(layout, client_key, found)
        yield from _forget(layout, walks, _MANY)
    yield from _forget(layout, walks, 1)
    return rows


def _begun(layout: Layout, client_key: bytes, start: bytes, share: int) -> Steps[list[_Walk]]:
    """
    Begin to read each index, and give up some of what is dead in it.
    """
    most, least = _FEW, _SAMPLE
    while True:
        walks = [_Walk(index, start, share) for index in layout.indexes_of(client_key)]
        yield from _read(walks, most, least, clears=False)
        littered = [walk for walk in walks if walk.dead]
        if not littered:
            return walks
        asked = [dropping(layout, walk.index, walk.dead) for walk in littered]
        answers = yield "runs", (asked,)
        if not any(living for _, living in answers):
            return walks
        most = least = BATCH


def _read_on(layout: Layout, walks: Sequence[_Walk]) -> Steps[None]:
    """
    Read of every index whose next ID is not known.
    """
    while short := [walk for walk in walks if walk.has_more and not walk.names]:
        yield from _read(short, 1, 1, clears=True)
        littered = [walk for walk in short if walk.is_littered and walk.names]
        if littered:
            yield from _sift(layout, littered)


def _read(walks: Sequence[_Walk], most: int, least: int, *, clears: bool) -> Steps[None]:
    """
    Read a part of each of these indexes.
    """
    answers = yield "runs", ([walk.reading(most, least, clears) for walk in walks],)
    for walk, (names, has_more, start, dead) in zip(walks, answers, strict=True):
        walk.add(names, has_more, start)
        walk.dead = dead


def _sift(layout: Layout, walks: Sequence[_Walk]) -> Steps[None]:
    """
    Leave of the IDs that wait those whose sessions live.
    """
    asked = [dropping(layout, walk.index, walk.names) for walk in walks]
    answers = yield "runs", (asked,)
    for walk, (_, living) in zip(walks, answers, strict=True):
        walk.names = deque(walk.names[number] for number in living)


def _next(walks: Sequence[_Walk], most: int) -> list[tuple[bytes, _Walk]]:
    """
    Take the next IDs, in order, as far as it is known that none is between them.
    """
    ends = [walk.names[-1] for walk in walks if walk.has_more]
    end = min(ends) if ends else None
    known = sorted(
        (name, number)
        for number, walk in enumerate(walks)
        for name in walk.names
        if end is None or name <= end
    )
    taken = [(name, walks[number]) for name, number in known[:most]]
    for _, walk in taken:
        walk.names.popleft()
    return taken


def _rows(
    layout: Layout, client_key: bytes, found: Sequence[tuple[bytes, _Walk]]
) -> Steps[list[Row]]:
    """
    Read these sessions, and note which are not this client's any more.
    """
    keys = [layout.session(sha256(name).digest()) for name, _ in found]
    answers: list[Fields] = yield "batch", ([("HMGET", key, *_WANTED) for key in keys],)
    rows: list[Row] = []
    for (name, walk), kept in zip(found, answers, strict=True):
        if kept[-1] == client_key:
            rows.append(row_of(kept[:-1]))
        else:
            walk.gone.append(name)
    return rows


def _forget(layout: Layout, walks: Sequence[_Walk], least: int) -> Steps[None]:
    """
    Clear the indexes of which at least so many sessions are gone.
    """
    for walk in walks:
        if len(walk.gone) >= least:
            if least >= _MANY:
                walk.is_littered, walk.share = True, SCANNED
            yield from drop(layout, walk.index, walk.gone)
            walk.gone.clear()
