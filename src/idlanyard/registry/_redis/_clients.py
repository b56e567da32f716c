"""
Which client of a server is used next, and which one is given up. Pure, and not locked.

A client has one connection. Those that wait for one are served in their turn:
a client that comes back goes to the first of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as TooLate

from idlanyard.registry._pools import Pool
from idlanyard.registry._redis._errors import WRONG_SERVER, Full, is_crowded

# A Redis, of either face: redis-py types it in part only.
Client: TypeAlias = Any

K = TypeVar("K", bound="Ticket")

_MOMENT: Final = 1.0


class Link:
    """
    A client of one server, and what is known of its connection.

    Attributes:
        client: the client; nothing before it connects.
        generation: that of the clients among which it was made.
        has_answered: whether the server has ever answered by this connection.
    """

    __slots__ = ("__weakref__", "client", "generation", "has_answered")

    def __init__(self, generation: int) -> None:
        self.client: Client = None
        self.generation = generation
        self.has_answered = False


class Ticket(Protocol):
    """
    The place in the queue of a thread or a task that waits for a client.
    """

    def grant(self, link: Link) -> None:
        """
        End the wait with a client, or with one that is to connect.
        """
        ...


class Clients:
    """
    The clients of one server: those at rest, and how many are used.

    One failed connection tells of all: after it, those at rest are given up at
    once, and those in use when they come back.

    Args:
        pool: how many there may be.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waiting: deque[Ticket] = deque()
        self._idle: list[Link] = []
        # Of those that an interrupted thread held, nothing is left to be counted.
        self._taken: WeakSet[Link] = WeakSet()
        self._ceiling = pool.most
        self._ceiling_until = 0.0
        self._generation = 0
        self._is_open = True

    def take(self, wait: Callable[[], K]) -> Link | K:
        """
        Return a client, which may have to connect, or a place in the queue.

        Args:
            wait: makes such a place.
        """
        if self._idle:
            link = self._idle.pop()
            self._taken.add(link)
            return link
        most = self.pool.most if monotonic() >= self._ceiling_until else self._ceiling
        if len(self._taken) < most:
            return self._added()
        ticket = wait()
        self.waiting.append(ticket)
        return ticket

    def give(self, link: Link) -> Link | None:
        """
        Take back a client that has had its answer; return it where it is to be closed.
        """
        if not self._is_open or link.generation != self._generation:
            self.lose(link)
            return link
        if self.waiting:
            self.waiting.popleft().grant(link)
            return None
        self._taken.discard(link)
        if len(self._idle) >= self.pool.size:
            return link
        self._idle.append(link)
        return None

    def lose(self, link: Link) -> None:
        """
        Note that a client is gone, or could not connect.
        """
        self._taken.discard(link)
        if self.waiting:
            self.waiting.popleft().grant(self._added())

    def miss(self, link: Link, error: BaseException) -> bool:
        """
        Note that a client could not connect; return whether to wait for another one.

        That is so where the server takes no more of them, and there are some.
        """
        others = len(self._taken) - 1 + len(self._idle)
        if others <= 0 or not is_crowded(error):
            self.lose(link)
            return False
        self._taken.discard(link)
        self._ceiling, self._ceiling_until = others, monotonic() + _MOMENT
        return True

    def _added(self) -> Link:
        link = Link(self._generation)
        self._taken.add(link)
        return link

    def doubt(self, link: Link) -> list[Link]:
        """
        Give up all that are as old as a client that failed; return those to close.
        """
        if link.generation != self._generation:
            return []
        self._generation += 1
        idle, self._idle = self._idle, []
        return idle

    def close(self) -> list[Link]:
        """
        Give up all, those in use when they come back; return those to close.
        """
        self._is_open = False
        idle, self._idle = self._idle, []
        return idle

    def full(self) -> Full:
        """
        Return what to raise where none has come back in time.
        """
        pool = self.pool
        taken = len(self._taken)
        if taken < pool.most:
            return Full(
                f"the server takes no more than the {taken} connections that are in use: "
                "raise its maxclients, or lower pool_max in every process"
            )
        return Full(
            f"all {pool.most} connections stayed in use for {pool.wait} seconds: raise pool_max"
        )


def fate_of(error: BaseException) -> Literal["kept", "dropped", "doubted"]:
    """
    Return what becomes of a client by which a question failed.

    A refusal is an answer, and so the client is as good as before, unless it
    is connected to a server that is not the right one any more.
    """
    if isinstance(error, (*WRONG_SERVER, Lost, TooLate, OSError)):
        return "doubted"
    return "kept" if isinstance(error, ResponseError) else "dropped"
