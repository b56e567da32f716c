"""
Connections that keep to a deadline.

redis-py bounds each wait, not their sum: connecting, each address of a host
and logging in have the whole time anew. Only how long it takes to look up a
host's name is for the system to bound.
"""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TooLate

if TYPE_CHECKING:
    _Base = Connection
else:
    _Base = object

deadline: Final[ContextVar[float]] = ContextVar("idlanyard_redis_deadline")

FAILURES: Final = (RedisError, OSError)
# One round trip less, and no messages that nobody asked for.
PROTOCOL: Final = 2
OVER: Final = "the time for this question is over"


class _Timed(_Base):
    """
    The part of a connection none of whose waits goes beyond the deadline.
    """

    def __init__(self, **options: Any) -> None:
        self._is_bound = False
        super().__init__(**options)  # type: ignore[no-untyped-call]

    @property
    def socket_timeout(self) -> float:
        """
        How long the next wait may last.

        Raises:
            TimeoutError: not at all; the built-in one, behind which redis-py closes
                a socket that it is about to connect.
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
        The same, for an address of the host.
        """
        return self.socket_timeout

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: object) -> None:
        """
        The deadline decides.
        """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """
        Send, connecting first where it is not connected.
        """
        if self._bound():
            self._is_bound = True
        super().send_packed_command(  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
            command, check_health
        )

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """
        Return the next answer.
        """
        # The first one is bound by what was sent a moment ago.
        if self._is_bound:
            self._is_bound = False
        else:
            self._bound()
        return super().read_response(*arguments, **options)  # pyright: ignore[reportUnknownVariableType]

    def _bound(self) -> bool:
        """
        Bound the next wait, where it is connected.
        """
        socket: Any = self._sock
        if socket is None:
            return False
        left = deadline.get() - monotonic()
        if left > 0:
            socket.settimeout(left)
            return True
        # What is on its way would be taken for the answer to the next question.
        self.disconnect()  # type: ignore[no-untyped-call]  # pyright: ignore[reportUnknownMemberType]
        raise TooLate(OVER)


class TimedConnection(_Timed, Connection):
    """
    A connection none of whose waits goes beyond the deadline.
    """


class TimedSSLConnection(_Timed, SSLConnection):
    """
    The same through TLS.
    """


class TimedUnixConnection(_Timed, UnixDomainSocketConnection):
    """
    The same through a Unix socket.
    """
