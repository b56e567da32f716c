"""
What is decided about connections and nodes, without a server.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from math import inf
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import AskError, ClusterDownError, MovedError
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as TooLate

from idlanyard.registry._redis._async import _AsyncServerLinks
from idlanyard.registry._redis._connections import Link, Links, TimedConnection, deadline
from idlanyard.registry._redis._exchanges import Outcome, Send, TimeBudget
from idlanyard.registry._redis._faults import OVER, Misdirected, Over, fault_of
from idlanyard.registry._redis._keys import Namespace
from idlanyard.registry._redis._routing import _HOPS, Route, _Attempts
from idlanyard.registry._redis._servers import AsyncServer, Server, _AsyncTicket, _cut_link, _Ticket
from idlanyard.registry._redis._sync import _ServerLinks
from idlanyard.registry._redis._topology import Single, Slots, Topology
from idlanyard.registry._redis._url import parse_url
from idlanyard.registry._urls import Pool
from ports import free_port


class Queued:
    """
    A place in a queue.
    """

    def __init__(self) -> None:
        self.granted: list[Link] = []

    def grant(self, link: Link) -> None:
        """
        Note what was granted.
        """
        self.granted.append(link)


def test_a_lost_clients_place_goes_to_the_first_who_waits() -> None:
    """
    If a link is lost, the first in the queue may connect.
    """
    clients = Links(Pool(1, 1, 1.0))
    link = clients.take(Queued)
    waiting = clients.take(Queued)
    assert isinstance(link, Link)
    assert isinstance(waiting, Queued)
    clients.lose(link)
    (granted,) = waiting.granted
    assert granted.client is None


def test_an_older_failure_gives_up_nothing() -> None:
    """
    A connection as old as one that failed before tells nothing of those made since.
    """
    clients = Links(Pool(3, 3, 1.0))
    links = [clients.take(Queued) for _ in range(3)]
    one, two, three = (link for link in links if isinstance(link, Link))
    assert clients.give(three) is None
    assert clients.doubt(one) == [three]
    assert clients.doubt(two) == []


def test_a_crowded_server_is_told_by_its_own_option() -> None:
    """
    If the server takes no more connections, its maxclients is named, and else pool_max.
    """
    clients = Links(Pool(2, 2, 1.0))
    first, second = clients.take(Queued), clients.take(Queued)
    assert isinstance(first, Link)
    assert isinstance(second, Link)
    assert "raise pool_max" in str(clients.full_error())
    assert clients.miss(second, Lost("max number of clients reached"))
    assert isinstance(clients.take(Queued), Queued)
    assert "maxclients" in str(clients.full_error())


def test_slots_are_looked_up_and_moved() -> None:
    """
    A slot that nobody has is an outage; one that moved is at its new node.
    """
    slots = Slots({0: ("a", 1)})
    with pytest.raises(ClusterDownError):
        slots.node_of(b"{idlanyard:00}")
    slots.move(1, ("b", 2))
    assert list(slots.nodes) == [("a", 1), ("b", 2)]


def test_what_was_found_out_since_is_kept() -> None:
    """
    A failure of servers known before does not forget the servers known now.
    """
    topology = Topology(parse_url("redis://h", "redis"))
    old, new = Single(("h", 1)), Slots({0: ("h", 2)})
    topology.known = new
    topology.leave(old)
    topology.forget(old)
    assert topology.known is new
    attempts = _Attempts(topology)
    attempts.choose_node(new, lambda known: known.nodes[0])
    assert len(list(attempts.recover(ClusterDownError("down")))) == 1
    assert topology.known is None


def test_a_question_that_is_sent_around_pauses() -> None:
    """
    Nodes that send a question to each other are given a moment.
    """
    topology = Topology(parse_url("redis://h", "redis"))
    topology.known = known = Slots({0: ("h", 2)})
    attempts = _Attempts(topology)
    for hop in range(_HOPS + 1):
        attempts.choose_node(known, lambda known: known.nodes[0])
        assert len(list(attempts.recover(MovedError("0 h:3")))) == (hop == _HOPS)


def test_a_slot_that_moved_until_the_end_is_no_fault() -> None:
    """
    A question whose time is over after MOVED is an outage, not a right that the user lacks.
    """
    topology = Topology(parse_url("redis://h", "redis"))
    topology.known = known = Slots({0: ("h", 2)})
    attempts = _Attempts(topology)
    for error in (AskError("0 h:3"), MovedError("0 h:3")):
        attempts.choose_node(known, lambda known: known.nodes[0])
        assert list(attempts.recover(error)) == []
        with pytest.raises((AskError, Over)) as raised:
            list(attempts.recover(Over(OVER)))
        assert fault_of(raised.value, topology.kind) is None


def test_what_a_cancelled_task_was_granted_comes_back() -> None:
    """
    R14: a task cancelled in the queue leaves it, or gives back what it was just granted.
    """

    async def main() -> None:
        server = AsyncServer("tcp", {"host": "h", "port": 1}, Pool(1, 1, 1.0))
        link = server._links.take(_AsyncTicket)
        assert isinstance(link, Link)
        waiting, granted = server._links.take(_AsyncTicket), _AsyncTicket()
        assert isinstance(waiting, _AsyncTicket)
        await server._return_granted(waiting)
        assert not server._links.waiting
        link.client = SimpleNamespace(connection=None)
        granted.grant(link)
        await server._return_granted(granted)
        assert server._links.take(_AsyncTicket) is link
        link.client = None
        granted = _AsyncTicket()
        granted.grant(link)
        await server._return_granted(granted)
        assert isinstance(server._links.take(_AsyncTicket), Link)

    asyncio.run(main())


def test_a_link_that_is_granted_at_the_last_moment_is_used() -> None:
    """
    A thread whose wait is over has the link that another one granted it before it left the queue.
    """
    server = Server("tcp", {"host": "h", "port": 1}, Pool(1, 1, 1.0))
    ticket, link = _Ticket(), Link(0)
    ticket.link = link
    assert server._await_link(ticket, 0.0) is link


def test_a_connection_that_is_closed_needs_no_cut() -> None:
    """
    A connection without a socket is let go of without one.
    """
    link = Link(0)
    connection = SimpleNamespace(_writer=None, _reader=None)
    link.client = SimpleNamespace(connection=connection)
    _cut_link(link, is_over=True)
    assert link.client.connection is None


def question_to(port: int) -> Send:
    """
    Return a step that asks a server.
    """
    return Send(("127.0.0.1", port), ("PING",), monotonic() + 5)


def test_a_closed_place_makes_no_lasting_servers() -> None:
    """
    A question that was on its way when its registry was closed leaves nothing open.
    """
    target, step = parse_url("redis://h", "redis"), question_to(free_port())
    servers = _ServerLinks(target, Pool(1, 1, 1.0))
    servers.close()
    server = servers._server(step)
    assert server._links.pool.size == 1

    async def main() -> None:
        others = _AsyncServerLinks(target, Pool(1, 1, 1.0))
        await others.close()
        assert isinstance(others._server(step), AsyncServer)

    asyncio.run(main())


@pytest.fixture
def silent() -> Iterator[int]:
    """
    Return the port of a server that takes connections and never answers.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_connection_keeps_to_its_deadline(silent: int) -> None:
    """
    S29: a connection connects when it is first asked, and is closed where its time is over.
    """
    connection: Any = TimedConnection(host="127.0.0.1", port=silent, protocol=2)
    token = deadline.set(monotonic() + 0.2)
    try:
        with pytest.raises(TooLate):
            # It asks the server who it is talking to, which never answers.
            connection.send_packed_command([b"PING\r\n"])
        deadline.set(monotonic() + 60)
        connection._sock = socket.create_connection(("127.0.0.1", silent))
        connection.send_packed_command([b"PING\r\n"])
        deadline.set(monotonic())
        connection._is_bound = False
        with pytest.raises(TooLate):
            connection.read_response()
        assert connection._sock is None
    finally:
        deadline.reset(token)


class Interrupting(list[Any]):
    """
    Commands that end a thread when they are looked at.
    """

    def __iter__(self) -> Iterator[Any]:
        raise KeyboardInterrupt


def test_an_interrupted_question_leaves_no_connection(silent: int) -> None:
    """
    R14: where a thread is interrupted, its connection, which may still get an answer, is closed.
    """
    server = Server("tcp", {"host": "127.0.0.1", "port": silent}, Pool(1, 1, 1.0))
    token = deadline.set(inf)
    try:
        link = server._links.take(Queued)
        assert isinstance(link, Link)
        link.client = SimpleNamespace(
            connection=SimpleNamespace(
                disconnect=bool, pack_commands=list, send_packed_command=bool
            ),
            close=bool,
            connection_pool=SimpleNamespace(disconnect=bool),
        )
        server._links.give(link)
        with pytest.raises(KeyboardInterrupt):
            server.send(Interrupting(), is_asking=False)
        assert server._links.take(Queued) is not link
    finally:
        deadline.reset(token)


def test_a_server_that_is_alone_is_missed() -> None:
    """
    A try at one of several servers that is down gives None; at a single one it is an outage.
    """
    topology = Topology(parse_url("redis://h", "redis"))
    for known, is_missed in ((Single(("h", 1)), True), (Slots({0: ("h", 1), 1: ("h", 2)}), False)):
        topology.known = known
        route = Route(topology, Namespace("idlanyard"), 0.001)
        course = route.try_send_to(("h", 1), "INFO")
        step, answer, error = next(course), None, None
        try:
            while True:
                assert step is not None
                step = course.send(Outcome(None, Lost("gone"), is_stale=False))
        except StopIteration as done:
            answer = done.value
        except (Lost, TooLate) as lost:
            error = lost
        assert (error is not None) == is_missed
        assert answer is None


def test_a_sentinel_with_another_view_says_more_than_one_that_is_gone() -> None:
    """
    If one Sentinel does not know the service and the next is gone, the fault is the service.
    """
    url = "redis+sentinel://a:1,b:2/main"
    topology = Topology(parse_url(url, "redis+sentinel"))
    course = topology.reach(TimeBudget(60.0))
    next(course)
    course.send(Outcome(None, None, is_stale=False))
    course.send(Outcome([{"name": "other"}], None, is_stale=False))
    with pytest.raises(Misdirected):
        course.send(Outcome(None, Lost("gone"), is_stale=False))
