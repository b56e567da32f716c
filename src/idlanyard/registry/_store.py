"""
What a registry asks of a store, in two kinds: one that waits, one that is awaited.

Every method is one atomic step at the store, by the store's clock; a row
that has expired is absent to all of them. What goes wrong is raised as
``RegistryUnavailable``.
"""

from __future__ import annotations

from typing import Protocol

from idlanyard.registry._record import Draft, Row


class Store(Protocol):
    """
    A store whose methods wait. Threads may share it.
    """

    def insert(self, draft: Draft) -> Row | None:
        """
        Keep a new session and return it; ``None`` where its key is taken.
        """
        ...

    def read(self, key: bytes) -> Row | None:
        """
        Return the session with this key.
        """
        ...

    def extend(self, key: bytes, ttl: int | None) -> Row | None:
        """
        Let the session live for *ttl* microseconds from now, and return it.

        ``None`` is the time it had before; a session that had none expires never.
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

    def close(self) -> None:
        """
        Let go of connections, files and threads. Twice is harmless.
        """
        ...


class AsyncStore(Protocol):
    """
    A store whose methods are awaited and never block the event loop.
    """

    async def insert(self, draft: Draft) -> Row | None:
        """
        As ``Store.insert``.
        """
        ...

    async def read(self, key: bytes) -> Row | None:
        """
        As ``Store.read``.
        """
        ...

    async def extend(self, key: bytes, ttl: int | None) -> Row | None:
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

    async def close(self) -> None:
        """
        As ``Store.close``.
        """
        ...
