"""
What a route asks of the servers, and the time that it has. Pure.

A course is a generator that yields what to ask of which server, or how long
to pause, and is sent what came of it.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from redis.exceptions import TimeoutError as TooLate

T = TypeVar("T")
Node: TypeAlias = tuple[str, int]
"""
A host and its port; or the path of a Unix socket, and 0.
"""
Command: TypeAlias = tuple[Any, ...]
Commands: TypeAlias = Command | list[Command]

OVER: Final = "the time for this question is over"


class Over(TooLate):
    """
    The time for this question is over.
    """


class Ask(NamedTuple):
    """
    Ask one server.

    Attributes:
        node: which one.
        commands: one command, or several that are sent at once.
        until: the moment at which it has taken too long.
        is_asking: whether the node is only about to get the slot.
        is_sentinel: whether it is asked as a Sentinel.
    """

    node: Node
    commands: Commands
    until: float
    is_asking: bool = False
    is_sentinel: bool = False


class Pause(NamedTuple):
    """
    Wait for a moment.
    """

    seconds: float


class Probe(NamedTuple):
    """
    Try whether a server speaks TLS where it was to speak without, or the other way round.

    Attributes:
        node: which one.
        until: the moment at which it has taken too long.
    """

    node: Node
    until: float


class Outcome(NamedTuple):
    """
    What came of it.

    Attributes:
        answer: the answer, or the answers.
        error: what came instead.
        is_stale: whether the connection that failed had answered before.
    """

    answer: Any = None
    error: Exception | None = None
    is_stale: bool = False


Course: TypeAlias = Generator[Ask | Pause | Probe, Outcome, T]


class Trip:
    """
    The time that one question has, and the kind of its last failure.

    Args:
        timeout: how many seconds it may take.
    """

    __slots__ = ("_timeout", "is_stale", "until")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.is_stale = False
        self.until = 0.0
        self.renew()

    def renew(self) -> None:
        """
        Let the time begin anew.
        """
        self.until = monotonic() + self._timeout

    def ask(
        self,
        node: Node,
        commands: Commands,
        *,
        parts: int = 1,
        is_asking: bool = False,
        is_sentinel: bool = False,
    ) -> Course[Any]:
        """
        Ask a server, which may take the rest of the time or one of so many *parts* of the whole.

        Raises:
            Over: the time is over.
            RedisError: the server refused, or was not there.
        """
        now = monotonic()
        if now >= self.until:
            raise Over(OVER)
        until = self.until if parts == 1 else min(self.until, now + self._timeout / parts)
        outcome = yield Ask(node, commands, until, is_asking, is_sentinel)
        self.is_stale = outcome.is_stale
        if outcome.error is not None:
            raise outcome.error
        return outcome.answer
