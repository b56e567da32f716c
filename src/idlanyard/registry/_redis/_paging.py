"""
Pages of a client's sessions, read from the 64 indexes over which they are spread.

A little more than its share of the page is read from each index, so that one
round of scripts finds the page. However long the indexes are, one round reads a
bounded number of IDs: a server runs the scripts of a round one after the other,
and other clients wait for that.

The ends tell which sessions have expired. If few sessions of an index are
living, only those are read; otherwise expired IDs that a page meets leave the
index once their sessions were looked up, so that no later page meets them. After
thousands of them a page skips the others, since it has to come in time, and notes
the gaps that they are in, so that later pages do not read them. A
page looks up the expired sessions of every index that has few of them, and some
of a few other indexes. If one of them is living, because a process of layout 1 has
extended it, the page looks up 100 at a time until none of them lives, and then
reads. IDs that are not in the ends are from layout 1: their sessions are looked
up, in large steps if most are gone.

A process of layout 1 changes the index only. If it removed one ID and added
another, index and ends have equal counts and different IDs, and the ends alone do
not tell of the new one. The script checks that those of the ends are in
the index; once an expired one that was looked up is not, the page reads again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from secrets import randbelow
from typing import Any, Final, Literal, TypeAlias

from idlanyard.registry._record import Row
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._keys import (
    FIELDS,
    TAGS,
    Fields,
    Namespace,
    client_key_of,
    ends_of,
    row_of,
)
from idlanyard.registry._redis._scripts import DROP, READ, ScriptCall

Mode: TypeAlias = Literal["stop", "read", "skip"]
"""
Treatment of expired IDs by the script that reads.
"""

BATCH: Final = 100
"""
IDs that one script removes or one round of commands reads.
"""
LARGEST_READ: Final = 500
LARGEST_ROUND: Final = 2048
"""
IDs that the scripts of one round read.
"""
_SPARE: Final = 8
_FEW: Final = 4
"""
Expired sessions of an index that a page looks up if there are no more than that.
"""
_SAMPLE: Final = 16
_SAMPLED: Final = 4
"""
Indexes of which a page looks up a sample if they have more.
"""
MOST_CLEARED: Final = 20_000
"""
IDs in its way that a page looks up; it skips further expired IDs, which costs much less.
"""
_HAS_EXPIRED: Final = 1
_BY_ENDS: Final = 2
_MANY_GONE: Final = 16
_WANTED: Final = (*FIELDS, "client_key")


class _IndexReader:
    """
    Progress of a page in one index.

    Attributes:
        index: name of the index.
        start: where the next read starts, as ZRANGEBYLEX takes it.
        share: number of IDs of the next read.
        names: IDs that were read and are not on the page yet.
        suspects: expired IDs whose sessions have to be looked up.
        gone: IDs whose sessions are gone or another client's.
        has_more: whether more IDs may follow.
        has_expired: whether there are expired IDs among those that were read last.
        is_by_ends: whether the IDs were read from the ends alone.
        is_littered: whether most IDs that are not in the ends are gone.
    """

    __slots__ = (
        "gone",
        "has_expired",
        "has_more",
        "index",
        "is_by_ends",
        "is_littered",
        "names",
        "share",
        "start",
        "suspects",
    )

    def __init__(self, index: bytes, start: bytes, share: int) -> None:
        self.index = index
        self.start = start
        self.share = share
        self.names: deque[bytes] = deque()
        self.suspects: list[bytes] = []
        self.gone: list[bytes] = []
        self.has_more = True
        self.has_expired = False
        self.is_by_ends = False
        self.is_littered = False

    def call(self, few: int, sample: int, mode: Mode) -> ScriptCall:
        """
        Return the script that reads on.
        """
        return read_call(self.index, self.start, self.share, few, sample, mode)

    def add(self, answer: Sequence[Any]) -> None:
        """
        Add an answer of the script.
        """
        names, has_more, start, self.suspects, kind = answer
        self.has_expired, self.is_by_ends = kind == _HAS_EXPIRED, kind == _BY_ENDS
        # Lua compares text by the server's locale, so that the script cannot leave these out.
        floor = self.start[1:]
        self.names.extend(sorted(name for name in names if name > floor))
        self.has_more = bool(has_more)
        if self.has_more:
            # The next time it is read in larger steps.
            self.share = min(self.share * 2, LARGEST_READ)
        self.start = start


def read_page(
    space: Namespace, client_key: bytes, after: str | None, limit: int
) -> Steps[list[Row]]:
    """
    Return a client's next sessions; IDs of other sessions leave the client's indexes.
    """
    start = b"-" if after is None else b"(" + after.encode()
    share = limit // TAGS * 2 + _SPARE
    readers = yield from _start_readers(space, client_key, start, share)
    rows: list[Row] = []
    cleared = 0
    while len(rows) < limit:
        cleared += yield from _read_on(space, readers, MOST_CLEARED - cleared)
        found = _take_next(readers, min(limit - len(rows), BATCH))
        if not found:
            break
        rows += yield from _read_rows(space, client_key, found)
        yield from _remove_gone(space, readers, _MANY_GONE)
    yield from _remove_gone(space, readers, 1)
    return rows


def drop_names(space: Namespace, index: bytes, names: Sequence[bytes]) -> Steps[int]:
    """
    Remove IDs from an index unless their sessions are living and the client's; return how many.
    """
    removed: int
    removed, _, _ = yield "run", drop_call(space, index, names)
    return removed


def tidy_names(space: Namespace, index: bytes, names: Sequence[bytes]) -> Steps[None]:
    """
    Do the same if it can be done now: a verb that has done its work does not fail by it.

    The slot may be between two nodes, one of which has the index and the other the sessions.
    """
    for start in range(0, len(names), LARGEST_READ):
        yield "try_run", drop_call(space, index, names[start : start + LARGEST_READ])


def drop_call(space: Namespace, index: bytes, names: Sequence[bytes]) -> ScriptCall:
    """
    Return the script that does so.
    """
    keys = [space.session(sha256(name).digest()) for name in names]
    return DROP, [index, ends_of(index), *keys], [client_key_of(index), *names]


def read_call(
    index: bytes, start: bytes, count: int, few: int, sample: int, mode: Mode
) -> ScriptCall:
    """
    Return the script that reads the next IDs of an index.
    """
    return READ, [index, ends_of(index)], [start, count, few, sample, mode]


def _start_readers(
    space: Namespace, client_key: bytes, start: bytes, share: int
) -> Steps[list[_IndexReader]]:
    """
    Start to read every index, and look up expired sessions.
    """
    few, first = _FEW, randbelow(TAGS)
    samples = [_SAMPLE if (tag - first) % TAGS < _SAMPLED else 0 for tag in range(TAGS)]
    while True:
        readers = [_IndexReader(index, start, share) for index in space.indexes_of(client_key)]
        yield from _read(readers, few, samples, "stop")
        suspected = [reader for reader in readers if reader.suspects]
        if not suspected:
            return readers
        calls = [drop_call(space, reader.index, reader.suspects) for reader in suspected]
        answers = yield "run_all", (calls,)
        has_living = any(living for _, living, _ in answers)
        has_hidden = any(
            astray and reader.is_by_ends
            for reader, (_, _, astray) in zip(suspected, answers, strict=True)
        )
        if not has_living and not has_hidden:
            return readers
        if has_living:
            few, samples = BATCH, [BATCH] * TAGS


def _read_on(space: Namespace, readers: Sequence[_IndexReader], most: int) -> Steps[int]:
    """
    Read from every index until its next ID is known; return how many IDs were looked up.

    Once they are *most*, expired IDs are skipped and stay in the index.
    """
    looked_up = 0
    while short := [reader for reader in readers if reader.has_more and not reader.names]:
        for some in _split_round(short):
            mode: Mode = "read" if looked_up < most else "skip"
            yield from _read(some, 0, [0] * len(some), mode)
            for reader in some:
                reader.gone += reader.suspects
            littered = [
                reader
                for reader in some
                if (reader.is_littered or reader.has_expired) and reader.names
            ]
            if littered:
                looked_up += yield from _drop_unread(space, littered)
    return looked_up


def _split_round(readers: Sequence[_IndexReader]) -> Iterator[list[_IndexReader]]:
    """
    Yield these readers in groups whose shares are no larger together than one round.
    """
    group: list[_IndexReader] = []
    size = 0
    for reader in readers:
        if size + reader.share > LARGEST_ROUND:
            yield group
            group, size = [], 0
        group.append(reader)
        size += reader.share
    yield group


def _read(
    readers: Sequence[_IndexReader], few: int, samples: Sequence[int], mode: Mode
) -> Steps[None]:
    """
    Read the next IDs of these indexes.
    """
    calls = [
        reader.call(few, sample, mode) for reader, sample in zip(readers, samples, strict=True)
    ]
    answers = yield "run_all", (calls,)
    for reader, answer in zip(readers, answers, strict=True):
        reader.add(answer)


def _drop_unread(space: Namespace, readers: Sequence[_IndexReader]) -> Steps[int]:
    """
    Remove the IDs that were read last, unless their sessions are living; return how many were read.
    """
    looked_up = sum(len(reader.names) for reader in readers)
    calls = [drop_call(space, reader.index, reader.names) for reader in readers]
    answers = yield "run_all", (calls,)
    for reader, (_, living, _) in zip(readers, answers, strict=True):
        reader.names = deque(reader.names[number] for number in living)
    return looked_up


def _take_next(readers: Sequence[_IndexReader], most: int) -> list[tuple[bytes, _IndexReader]]:
    """
    Take the next IDs in order, up to the first one before which an unread ID may be.
    """
    lasts = [reader.names[-1] for reader in readers if reader.has_more]
    last = min(lasts) if lasts else None
    known = sorted(
        (name, number)
        for number, reader in enumerate(readers)
        for name in reader.names
        if last is None or name <= last
    )
    taken = [(name, readers[number]) for name, number in known[:most]]
    for _, reader in taken:
        reader.names.popleft()
    return taken


def _read_rows(
    space: Namespace, client_key: bytes, found: Sequence[tuple[bytes, _IndexReader]]
) -> Steps[list[Row]]:
    """
    Read these sessions, and note the IDs of those that are gone or another client's.
    """
    keys = [space.session(sha256(name).digest()) for name, _ in found]
    answers: list[Fields] = yield "send_all", ([("HMGET", key, *_WANTED) for key in keys],)
    rows: list[Row] = []
    for (name, reader), fields in zip(found, answers, strict=True):
        if fields[-1] == client_key:
            rows.append(row_of(fields[:-1]))
        else:
            reader.gone.append(name)
    return rows


def _remove_gone(space: Namespace, readers: Sequence[_IndexReader], least: int) -> Steps[None]:
    """
    Remove the noted IDs from the indexes that have at least so many of them.
    """
    for reader in readers:
        if len(reader.gone) >= least:
            if least >= _MANY_GONE:
                reader.is_littered, reader.share = True, LARGEST_READ
            yield from tidy_names(space, reader.index, reader.gone)
            reader.gone.clear()
