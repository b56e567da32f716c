"""
One page of a client's sessions, out of the 64 indexes that they are spread over.

Of each index a little more is read than its share of the page, so that one
round of questions finds the page, and however long the indexes are no more
than some pages are ever held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from idlanyard.registry._record import Row
from idlanyard.registry._redis._layout import FIELDS, TAGS, Fields, Layout, row_of
from idlanyard.registry._redis._questions import BATCH, Question, drop

_SPARE: Final = 8
_WANTED: Final = (*FIELDS, "client_key")


class _Walk:
    """
    How far one index has been read: the IDs that wait, and whether more may follow.
    """

    __slots__ = ("gone", "has_more", "index", "names", "share", "start")

    def __init__(self, index: bytes, start: bytes, share: int) -> None:
        self.index = index
        self.start = start
        self.share = share
        self.names: deque[bytes] = deque()
        self.gone: list[bytes] = []
        self.has_more = True

    def command(self) -> tuple[object, ...]:
        return "ZRANGEBYLEX", self.index, self.start, b"+", "LIMIT", 0, self.share

    def add(self, names: Sequence[bytes]) -> None:
        self.names.extend(names)
        self.has_more = len(names) == self.share
        # Whose index is longer than others is asked for more the next time.
        self.share = min(self.share * 2, BATCH * 10)
        if names:
            self.start = b"(" + names[-1]


def page(layout: Layout, client_key: bytes, after: str | None, limit: int) -> Question[list[Row]]:
    """
    As ``Store.page``; what is not this client's any more leaves its index.
    """
    start = b"-" if after is None else b"(" + after.encode()
    share = limit // TAGS * 2 + _SPARE
    walks = [_Walk(index, start, share) for index in layout.indexes_of(client_key)]
    rows: list[Row] = []
    while len(rows) < limit:
        yield from _read_on(walks)
        found = _next(walks, min(limit - len(rows), BATCH))
        if not found:
            break
        rows += yield from _rows(layout, client_key, found)
        yield from _forget(layout, walks, BATCH)
    yield from _forget(layout, walks, 1)
    return rows


def _read_on(walks: Sequence[_Walk]) -> Question[None]:
    """
    Read of every index whose next ID is not known.
    """
    short = [walk for walk in walks if walk.has_more and not walk.names]
    if short:
        answers = yield "batch", ([walk.command() for walk in short],)
        for walk, names in zip(short, answers, strict=True):
            walk.add(names)


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
) -> Question[list[Row]]:
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


def _forget(layout: Layout, walks: Sequence[_Walk], least: int) -> Question[None]:
    """
    Clear the indexes of which at least so many sessions are gone.
    """
    for walk in walks:
        if len(walk.gone) >= least:
            yield from drop(layout, walk.index, walk.gone)
            walk.gone.clear()
