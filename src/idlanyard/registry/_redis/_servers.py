"""
A server, and the clients by which threads ask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Lock
from time import monotonic
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import ResponseError
from redis.retry import Retry

from idlanyard.registry._pools import Pool
from idlanyard.registry._redis._asking import Commands, Outcome
from idlanyard.registry._redis._clients import Client, Clients, Link, fate_of
from idlanyard.registry._redis._connections import (
    FAILURES,
    PROTOCOL,
    TimedConnection,
    TimedSSLConnection,
    TimedUnixConnection,
    deadline,
)

_KINDS: Final = {"tcp": TimedConnection, "tls": TimedSSLConnection, "unix": TimedUnixConnection}
_NONE: Final = Link(0)


class _Ticket:
    def __init__(self) -> None:
        self.is_granted = Event()
        self.link = _NONE

    def grant(self, link: Link) -> None:
        self.link = link
        self.is_granted.set()


class Server:
    """
    One server, or one node of a cluster. Threads may share it.

    Each of its clients keeps a connection. redis-py looks at a connection
    whenever a pool hands it out, which takes a fourth of a question's time.
    Here it would be for nothing: a client is used again only after it has had
    its answer.

    Args:
        kind: what its connections go through.
        options: those of redis-py's connections.
        pool: how many of them there may be.
    """

    def __init__(self, kind: str, options: dict[str, Any], pool: Pool) -> None:
        self._kind = _KINDS[kind]
        self._options = options
        self._clients = Clients(pool)
        self._lock = Lock()

    def ask(self, commands: Commands, *, is_asking: bool) -> Outcome:
        """
        Return the answers to commands, or the error that came instead; in time.
        """
        try:
            link = self._taken()
        except FAILURES as error:
            return Outcome(None, error, is_stale=False)
        was_known = link.has_answered
        try:
            answers = _answers(link.client, commands, is_asking=is_asking)
        except BaseException as error:
            self._part(link, error)
            if isinstance(error, FAILURES):
                return Outcome(None, error, is_stale=was_known)
            raise
        link.has_answered = True
        self._give(link)
        return Outcome(answers, None, is_stale=False)

    def close(self) -> None:
        """
        Let go of all connections; of those in use, when they come back.
        """
        with self._lock:
            idle = self._clients.close()
        _close(idle)

    def _taken(self) -> Link:
        """
        Return a client that nobody else has.
        """
        until = min(deadline.get(), monotonic() + self._clients.pool.wait)
        while True:
            with self._lock:
                found = self._clients.take(_Ticket)
            link = found if isinstance(found, Link) else self._awaited(found, until)
            if link.client is not None:
                return link
            try:
                self._connect(link)
            except BaseException as error:
                with self._lock:
                    may_wait = self._clients.miss(link, error)
                if not may_wait:
                    raise
            else:
                return link

    def _awaited(self, ticket: _Ticket, until: float) -> Link:
        """
        Return the client that a ticket was granted.
        """
        if not ticket.is_granted.wait(max(0.0, until - monotonic())):
            with self._lock:
                if ticket in self._clients.waiting:
                    self._clients.waiting.remove(ticket)
                    raise self._clients.full()
        return ticket.link

    def _connect(self, link: Link) -> None:
        pool = ConnectionPool(
            connection_class=self._kind,
            protocol=PROTOCOL,
            retry=Retry(NoBackoff(), 0),
            **self._options,
        )
        try:
            link.client = Redis(connection_pool=pool, single_connection_client=True)
        except BaseException:
            pool.disconnect()
            raise

    def _give(self, link: Link) -> None:
        with self._lock:
            closing = self._clients.give(link)
        if closing is not None:
            _close([closing])

    def _part(self, link: Link, error: BaseException) -> None:
        """
        Keep a client, or close what may still get an answer, which is nobody's.
        """
        fate = fate_of(error)
        if fate == "kept":
            link.has_answered = True
            self._give(link)
            return
        with self._lock:
            doubted = self._clients.doubt(link) if fate == "doubted" else []
            self._clients.lose(link)
        _close([link, *doubted])


def _answers(client: Client, commands: Commands, *, is_asking: bool) -> Any:
    if isinstance(commands, tuple):
        if is_asking:
            client.execute_command("ASKING")
        return client.execute_command(*commands)
    return _batch(client.connection, commands)


def _batch(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """
    Return the answers to commands that are sent at once, refusals among them.
    """
    connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers


def _close(links: Sequence[Link]) -> None:
    for link in links:
        link.client.connection.disconnect()
        link.client.close()
        link.client.connection_pool.disconnect()
