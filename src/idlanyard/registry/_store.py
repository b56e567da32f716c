"""
What a registry asks of a store, in two kinds: one that waits, one that is awaited.

Every method is one atomic step at the store, by the store's clock; a row
that has expired is absent to all of them. What goes wrong is raised as
``RegistryUnavailable`` where waiting may mend it, within the timeout, else as
``RegistryMisconfigured``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from idlanyard.registry._record import Draft, Kept, Put, Repeated, Row, Stretch


class Store(Protocol):
    """
    A store whose methods wait. Threads may share it.
    """

    def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        Keep a new session and return it; ``None`` where its key is taken.

        Where a living session was made with the draft's idempotency key, that
        one is returned, whatever its ID, and nothing is kept.
        """
        ...

    def read(self, key: bytes) -> Row | None:
        """
        Return the session with this key.
        """
        ...

    def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        Let the session live for *ttl* microseconds from now, and return it.

        Args:
            key: of which session.
            ttl: ``None`` is the time it had before; a session that had none
                expires never. Without it no touch moves the end backwards.
            metadata: takes the place of what was left with it; ``None`` leaves that.
            created: only the session created at that moment, if it is given.
        """
        ...

    def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        Forget the session, and return what it was.

        Only the one created at that moment, if it is given, in microseconds since 1970.
        """
        ...

    def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        Return a client's next sessions, in the order of their IDs' UTF-8 bytes.

        Args:
            client_key: the SHA-256 of the client's ID.
            after: begin behind this session ID, whether or not it is there.
            limit: how many at most.
        """
        ...

    def purge(self) -> int:
        """
        Give up what the expired sessions still take, and return how many those were.
        """
        ...

    def count(self) -> int:
        """
        Return how many sessions are living.
        """
        ...

    def walk(self, after: str | None, limit: int) -> Stretch:
        """
        Return the next of all the living sessions, about *limit* of them.

        Each that lives during the whole walk is met, on some stores twice.

        Args:
            after: the ``after`` of the stretch before; ``None`` begins.
            limit: how many at most, or about.

        Raises:
            ValueError: *after* is no place in this store.
        """
        ...

    def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        Keep sessions as another store kept them, and return what became of each.

        A session that is there with the same moment of creation is "same",
        and gets the other fields of the one that is put; nothing is taken
        from another living session. At most 1,000 at once.
        """
        ...

    def check(self) -> list[str]:
        """
        Ask the server whether it can keep what the registry promises.

        Returns:
            A sentence for each setting that voids a promise, with what to
            write instead; empty where all is well.

        Raises:
            RegistryMisconfigured: the registry cannot work there at all.
        """
        ...

    def close(self) -> None:
        """
        Let go of connections, files and threads. Twice is harmless.
        """
        ...


class AsyncStore(Protocol):
    """
    A store whose methods are awaited and never block the event loop.
    """

    async def insert(self, draft: Draft) -> Row | Repeated | None:
        """
        As ``Store.insert``.
        """
        ...

    async def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        ...

    async def extend(
        self, key: bytes, ttl: int | None, metadata: str | None, created: int | None
    ) -> Row | None:
        """
        As ``Store.extend``.
        """
        ...

    async def delete(self, key: bytes, created: int | None) -> Row | None:
        """
        As ``Store.delete``.
        """
        ...

    async def page(self, client_key: bytes, after: str | None, limit: int) -> list[Row]:
        """
        As ``Store.page``.
        """
        ...

    async def purge(self) -> int:
        """
        As ``Store.purge``.
        """
        ...

    async def count(self) -> int:
        """
        As ``Store.count``.
        """
        ...

    async def walk(self, after: str | None, limit: int) -> Stretch:
        """
        As ``Store.walk``.
        """
        ...

    async def put(self, sessions: Sequence[Kept]) -> list[Put]:
        """
        As ``Store.put``.
        """
        ...

    async def check(self) -> list[str]:
        """
        As ``Store.check``.
        """
        ...

    async def close(self) -> None:
        """
        As ``Store.close``.
        """
        ...
