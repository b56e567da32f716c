"""
Questions that a registry asks of a store, and the two kinds of store that answer them.

Each question is a value that nothing changes, typed by its answer. A store answers it in one
atomic step, by its own clock; an expired session is absent to every question.
A store that fails raises ``RegistryUnavailable`` within the timeout if waiting
may help, else ``RegistryMisconfigured``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    dataclass_transform,
)

from idlanyard.registry._record import Draft, Kept, PutResult, Repeated, Row, Stretch

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Kind: TypeAlias = Literal["reads", "writes"]


@dataclass_transform(frozen_default=True)
def _question(question: type[T]) -> type[T]:
    """
    Make a class a dataclass that is frozen for type checkers, and not at run time.
    """
    # A frozen __init__ takes twice as long: it would make a touch on memory:// 4 % slower.
    return dataclass(slots=True)(question)


class Question(Generic[T_co]):
    """
    One question to a store, typed by its answer.

    A verb asks it with ``answer = yield from question``, which tells type
    checkers the type of the answer.

    Attributes:
        kind: whether the store only reads or also writes to answer it.
    """

    __slots__ = ()
    kind: ClassVar[Kind] = "reads"

    def __iter__(self) -> Generator[Question[T_co], Any, T_co]:
        answer: T_co = yield self
        return answer


@_question
class Insert(Question[Row | Repeated | None]):
    """
    Keep a new session. The answer is its row, or ``None`` if its key is taken.

    If the draft's idempotency key belongs to a living session, nothing is
    kept and that session is the answer, whatever its ID.
    """

    kind: ClassVar[Kind] = "writes"
    draft: Draft


@_question
class Read(Question[Row | None]):
    """
    Read the session with this key.
    """

    key: bytes


@_question
class Extend(Question[Row | None]):
    """
    Extend a session's life to *ttl* microseconds from now. The answer is its new row.

    Attributes:
        key: the key of the session.
        ttl: the new time to live; ``None`` keeps the current one, and never
            moves the end backwards. A session without one never expires.
        metadata: replaces the metadata; ``None`` keeps it.
        created: if given, only a session created at that moment is extended.
    """

    kind: ClassVar[Kind] = "writes"
    key: bytes
    ttl: int | None
    metadata: str | None
    created: int | None


@_question
class Delete(Question[Row | None]):
    """
    Delete a session. The answer is its last row.

    Attributes:
        key: the key of the session.
        created: if given, in microseconds since 1970, only a session created
            at that moment is deleted.
    """

    kind: ClassVar[Kind] = "writes"
    key: bytes
    created: int | None


@_question
class Page(Question[list[Row]]):
    """
    Read a client's next sessions, in the order of their IDs' UTF-8 bytes.

    Attributes:
        client_key: the SHA-256 of the client's ID.
        after: the page starts behind this session ID, which need not exist.
        limit: the most sessions to return.
    """

    client_key: bytes
    after: str | None
    limit: int


@_question
class Purge(Question[int]):
    """
    Free the space of expired sessions. The answer is their number.
    """

    kind: ClassVar[Kind] = "writes"


@_question
class Count(Question[int]):
    """
    Count the living sessions.
    """


@_question
class Walk(Question[Stretch]):
    """
    Read the next part of all living sessions.

    A session that lives during the whole walk is met; on some stores twice.
    An *after* that this store did not return raises ``ValueError``.

    Attributes:
        after: the ``after`` of the previous part; ``None`` starts a walk.
        limit: the most sessions to return, or about as many.
    """

    after: str | None
    limit: int


@_question
class Put(Question[list[PutResult]]):
    """
    Keep sessions exactly as another store kept them. The answer has one result for each.

    A session that is already there with the same moment of creation is
    "same", and its other fields are replaced. No other living session loses
    its ID or idempotency key. At most 1,000 sessions at once.
    """

    kind: ClassVar[Kind] = "writes"
    sessions: Sequence[Kept]


@_question
class Check(Question[list[str]]):
    """
    Check whether the server can keep the promises of a registry.

    The answer has a sentence for each setting that breaks a promise, with the
    setting to write instead. A store that cannot work at all raises
    ``RegistryMisconfigured``.
    """


class Store(Protocol):
    """
    A store that answers in the calling thread. Threads may share it.
    """

    def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        ...

    def close(self) -> None:
        """
        Close connections, files and threads. Closing twice is harmless.
        """
        ...


class AsyncStore(Protocol):
    """
    A store that is awaited and never blocks the event loop.
    """

    async def ask(self, question: Question[T]) -> T:
        """
        Return the answer to a question.
        """
        ...

    async def close(self) -> None:
        """
        Close connections, files and threads. Closing twice is harmless.
        """
        ...
