"""
Single exchanges with a server, as values, and the time that one question has for them. Pure.

``Exchange[T]`` is a generator that yields such values and is sent an
``Outcome`` for each.
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, TypeVar

from idlanyard.registry._redis._faults import OVER, Over
from idlanyard.registry._redis._url import Node

T = TypeVar("T")
Command: TypeAlias = tuple[Any, ...]
CommandOrBatch: TypeAlias = Command | list[Command]
"""
One command, or several that are sent at once.
"""


class Send(NamedTuple):
    """
    Send commands to one server.

    Attributes:
        node: the server.
        commands: one command, or several that are sent at once.
        until: the time at which the exchange fails.
        is_asking: whether ASKING is sent first, since the node is only about to get the slot.
        is_sentinel: whether the server is asked as a Sentinel.
    """

    node: Node
    commands: CommandOrBatch
    until: float
    is_asking: bool = False
    is_sentinel: bool = False


class Pause(NamedTuple):
    """
    Wait.
    """

    seconds: float


class Probe(NamedTuple):
    """
    Find out whether a server speaks TLS although the URL does not say so, or the reverse.

    Attributes:
        node: the server.
        until: the time at which the probe gives up.
    """

    node: Node
    until: float


class Outcome(NamedTuple):
    """
    Outcome of an exchange.

    Attributes:
        answer: the answer, or the list of answers.
        error: the error, if the exchange failed.
        is_stale: whether the connection that failed had answered before.
    """

    answer: Any = None
    error: Exception | None = None
    is_stale: bool = False


Exchange: TypeAlias = Generator[Send | Pause | Probe, Outcome, T]


class TimeBudget:
    """
    Time that one question has.

    Args:
        timeout: the most seconds that it may take.

    Attributes:
        is_stale: whether the last exchange failed on a connection that had answered before.
        until: the time at which the question fails.
    """

    __slots__ = ("_timeout", "is_stale", "until")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.is_stale = False
        self.until = 0.0
        self.renew()

    def renew(self) -> None:
        """
        Start the time again.
        """
        self.until = monotonic() + self._timeout

    def send(
        self,
        node: Node,
        commands: CommandOrBatch,
        *,
        parts: int = 1,
        is_asking: bool = False,
        is_sentinel: bool = False,
    ) -> Exchange[Any]:
        """
        Send commands to a server within the time that is left; return the answer.

        Args:
            node: the server.
            commands: one command, or several.
            parts: the timeout is divided by this for the exchange.
            is_asking: as in ``Send``.
            is_sentinel: as in ``Send``.

        Raises:
            Over: no time is left.
            RedisError: the server refused, or could not be reached.
        """
        now = monotonic()
        if now >= self.until:
            raise Over(OVER)
        until = self.until if parts == 1 else min(self.until, now + self._timeout / parts)
        outcome = yield Send(node, commands, until, is_asking, is_sentinel)
        self.is_stale = outcome.is_stale
        if outcome.error is not None:
            raise outcome.error
        return outcome.answer
