"""
Connections to one server: how long they may wait, which is used next, which are given up.

redis-py bounds each wait and not their sum: connecting, every address of a host
and the login have the whole time each. The connections here share one deadline.
Only the system bounds how long the lookup of a host's name takes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar
from weakref import WeakSet

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as TooLate

from idlanyard.registry._redis._faults import OVER, WRONG_SERVER, Full, is_crowded
from idlanyard.registry._redis._url import Kind, Node
from idlanyard.registry._urls import Pool

if TYPE_CHECKING:
    _Base = Connection
else:
    _Base = object

# redis-py types its sync and its async client in part only.
Client: TypeAlias = Any

K = TypeVar("K", bound="Ticket")

deadline: Final[ContextVar[float]] = ContextVar("idlanyard_redis_deadline")

# RESP 3 costs one round trip more and sends messages that nobody asked for.
PROTOCOL: Final = 2

_MOMENT: Final = 1.0
_PING: Final = b"PING\r\n"
_ANSWER_STARTS: Final = (b"+", b"-")
_LONGEST_PROBE: Final = 1.0
_PROBE_FAILURES: Final = (OSError, ValueError)


class Link:
    """
    A redis-py client with one connection.

    Attributes:
        client: the client; ``None`` until it connects.
        generation: number of failures of the server's connections before it was made.
        has_answered: whether the server has ever answered on this connection.
    """

    __slots__ = ("__weakref__", "client", "generation", "has_answered")

    def __init__(self, generation: int) -> None:
        self.client: Client = None
        self.generation = generation
        self.has_answered = False


class Ticket(Protocol):
    """
    Place of a thread or a task in the queue for a link.
    """

    def grant(self, link: Link) -> None:
        """
        End the wait with a link, which may still have to connect.
        """
        ...


class Links:
    """
    The links to one server, idle and in use. Not locked.

    A link that comes back goes to the first ticket in the queue. When one
    connection fails, all others may have failed: idle links are closed at
    once, and those in use when they come back.

    Args:
        pool: the bounds on their number.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.waiting: deque[Ticket] = deque()
        self._idle: list[Link] = []
        # Weak, so that the link of a thread that was interrupted is no longer counted.
        self._taken: WeakSet[Link] = WeakSet()
        self._ceiling = pool.most
        self._ceiling_until = 0.0
        self._generation = 0
        self._is_open = True

    def take(self, wait: Callable[[], K]) -> Link | K:
        """
        Return a link, which may have to connect, or a new ticket in the queue.

        Args:
            wait: makes a ticket.
        """
        if self._idle:
            link = self._idle.pop()
            self._taken.add(link)
            return link
        most = self.pool.most if monotonic() >= self._ceiling_until else self._ceiling
        if len(self._taken) < most:
            return self._new_link()
        ticket = wait()
        self.waiting.append(ticket)
        return ticket

    def give(self, link: Link) -> Link | None:
        """
        Take back a link after its answer; return it if it has to be closed.
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
        Note that a link was closed, or could not connect.
        """
        self._taken.discard(link)
        if self.waiting:
            self.waiting.popleft().grant(self._new_link())

    def miss(self, link: Link, error: BaseException) -> bool:
        """
        Note that a link could not connect; return whether to wait for another one.

        That is so if the server takes no more connections and we have some.
        """
        others = len(self._taken) - 1 + len(self._idle)
        if others <= 0 or not is_crowded(error):
            self.lose(link)
            return False
        self._taken.discard(link)
        self._ceiling, self._ceiling_until = others, monotonic() + _MOMENT
        return True

    def _new_link(self) -> Link:
        link = Link(self._generation)
        self._taken.add(link)
        return link

    def doubt(self, link: Link) -> list[Link]:
        """
        Give up all links that are as old as a failed one; return those to close.
        """
        if link.generation != self._generation:
            return []
        self._generation += 1
        idle, self._idle = self._idle, []
        return idle

    def close(self) -> list[Link]:
        """
        Give up all links, those in use when they come back; return those to close.
        """
        self._is_open = False
        idle, self._idle = self._idle, []
        return idle

    def full_error(self) -> Full:
        """
        Return the error to raise if no link came back in time.
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
    Return what to do with the link of a failed question.

    A refusal is an answer, so that the link is as good as before, unless it is
    connected to a server that is no longer the right one.
    """
    if isinstance(error, (*WRONG_SERVER, Lost, TooLate, OSError)):
        return "doubted"
    return "kept" if isinstance(error, ResponseError) else "dropped"


class _Timed(_Base):
    """
    Mixin of connections that never wait beyond the deadline.
    """

    def __init__(self, **options: Any) -> None:
        self._is_bound = False
        super().__init__(**options)  # type: ignore[no-untyped-call]

    @property
    def socket_timeout(self) -> float:
        """
        The seconds that the next wait may last.

        Raises:
            TimeoutError: the deadline has passed. It is the built-in error, after
                which redis-py 8.1 closes a socket that it is connecting.
        """
        left = deadline.get() - monotonic()
        if left <= 0:
            raise TimeoutError(OVER)
        return left

    @socket_timeout.setter
    def socket_timeout(self, value: object) -> None:
        """
        The deadline decides.
        """

    @property
    def socket_connect_timeout(self) -> float:
        """
        The seconds that connecting to one address of the host may last.
        """
        return self.socket_timeout

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: object) -> None:
        """
        The deadline decides.
        """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """
        Send a command, after connecting if necessary.
        """
        if self._bound_wait():
            self._is_bound = True
        super().send_packed_command(  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
            command, check_health
        )

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """
        Return the next answer.
        """
        # Sending has bounded the wait for the first answer a moment ago.
        if self._is_bound:
            self._is_bound = False
        else:
            self._bound_wait()
        return super().read_response(*arguments, **options)  # pyright: ignore[reportUnknownVariableType]

    def _bound_wait(self) -> bool:
        """
        Bound the next wait; return whether there is a connection.
        """
        socket: Any = self._sock
        if socket is None:
            return False
        left = deadline.get() - monotonic()
        if left > 0:
            socket.settimeout(left)
            return True
        # An answer that is still on its way would be taken for the next question's answer.
        self.disconnect()  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
        raise TooLate(OVER)


class TimedConnection(_Timed, Connection):
    """
    TCP connection that never waits beyond the deadline.
    """


class TimedSSLConnection(_Timed, SSLConnection):
    """
    TLS connection that never waits beyond the deadline.
    """


class TimedUnixConnection(_Timed, UnixDomainSocketConnection):
    """
    Unix socket connection that never waits beyond the deadline.
    """


def probe_other_scheme(node: Node, kind: Kind, until: float) -> bool:
    """
    Return whether the server speaks TLS although the URL does not say so, or the reverse.

    ``False`` if that cannot be found out in time.
    """
    left = _probe_time(until)
    try:
        with socket.create_connection(node, timeout=left) as plain:
            plain.settimeout(left)
            if kind != "tls":
                _any_certificate().wrap_socket(plain).close()
                return True
            plain.sendall(_PING)
            return plain.recv(1) in _ANSWER_STARTS
    except _PROBE_FAILURES:
        return False


async def async_probe_other_scheme(node: Node, kind: Kind, until: float) -> bool:
    """
    Return the same without blocking the event loop.
    """
    context = None if kind == "tls" else _any_certificate()
    try:
        async with asyncio.timeout(_probe_time(until)):
            reader, writer = await asyncio.open_connection(*node, ssl=context)
            try:
                if context is not None:
                    return True
                writer.write(_PING)
                return await reader.read(1) in _ANSWER_STARTS
            finally:
                writer.transport.abort()
    except _PROBE_FAILURES:
        return False


def _probe_time(until: float) -> float:
    return min(max(until - monotonic(), 0.001), _LONGEST_PROBE)


def _any_certificate() -> ssl.SSLContext:
    """
    Return a context that accepts any certificate; no secret is sent over it.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
