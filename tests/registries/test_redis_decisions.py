"""
What is decided about connections and nodes, without a server.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from redis.exceptions import ClusterDownError, MovedError
from redis.exceptions import ConnectionError as Lost

from idlanyard.registry._pools import Pool
from idlanyard.registry._redis._address import target_of
from idlanyard.registry._redis._async_servers import AsyncServer, _cut, _Ticket
from idlanyard.registry._redis._clients import Clients, Link
from idlanyard.registry._redis._routing import _HOPS, _Attempts
from idlanyard.registry._redis._topology import Single, Slots, Topology


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
    Finding 8: where a client is lost, who waits first may connect.
    """
    clients = Clients(Pool(1, 1, 1.0))
    link = clients.take(Queued)
    waiting = clients.take(Queued)
    assert isinstance(link, Link)
    assert isinstance(waiting, Queued)
    clients.lose(link)
    (granted,) = waiting.granted
    assert granted.client is None


def test_an_older_failure_gives_up_nothing() -> None:
    """
    Finding 7: a connection as old as one that failed before tells nothing of those made since.
    """
    clients = Clients(Pool(3, 3, 1.0))
    links = [clients.take(Queued) for _ in range(3)]
    one, two, three = (link for link in links if isinstance(link, Link))
    assert clients.give(three) is None
    assert clients.doubt(one) == [three]
    assert clients.doubt(two) == []


def test_a_crowded_server_is_told_by_its_own_option() -> None:
    """
    Finding 8: where the server takes no more, its maxclients is named, and else pool_max.
    """
    clients = Clients(Pool(2, 2, 1.0))
    first, second = clients.take(Queued), clients.take(Queued)
    assert isinstance(first, Link)
    assert isinstance(second, Link)
    assert "raise pool_max" in str(clients.full())
    assert clients.miss(second, Lost("max number of clients reached"))
    assert isinstance(clients.take(Queued), Queued)
    assert "maxclients" in str(clients.full())


def test_slots_are_looked_up_and_moved() -> None:
    """
    Finding 24: a slot that nobody has is an outage; one that moved is at its new node.
    """
    slots = Slots({0: ("a", 1)})
    with pytest.raises(ClusterDownError):
        slots.node_of(b"{idlanyard:00}")
    slots.move(1, ("b", 2))
    assert list(slots.nodes) == [("a", 1), ("b", 2)]


def test_what_was_found_out_since_is_kept() -> None:
    """
    Finding 7: who fails by what was known before leaves alone what is known now.
    """
    topology = Topology(target_of("redis://h", "redis"))
    old, new = Single(("h", 1)), Slots({0: ("h", 2)})
    topology.known = new
    topology.leave(old)
    topology.forget(old)
    assert topology.known is new
    attempts = _Attempts(topology)
    attempts.go(new, lambda known: known.nodes[0])
    assert len(list(attempts.recover(ClusterDownError("down")))) == 1
    assert topology.known is None


def test_a_question_that_is_sent_around_pauses() -> None:
    """
    Finding 24: nodes that send a question to each other are given a moment.
    """
    topology = Topology(target_of("redis://h", "redis"))
    topology.known = known = Slots({0: ("h", 2)})
    attempts = _Attempts(topology)
    for hop in range(_HOPS + 1):
        attempts.go(known, lambda known: known.nodes[0])
        assert len(list(attempts.recover(MovedError("0 h:3")))) == (hop == _HOPS)


def test_what_a_cancelled_task_was_granted_comes_back() -> None:
    """
    R14: a task cancelled in the queue leaves it, or gives back what it was just granted.
    """

    async def main() -> None:
        server = AsyncServer("tcp", {"host": "h", "port": 1}, Pool(1, 1, 1.0))
        link = server._clients.take(_Ticket)
        assert isinstance(link, Link)
        waiting, granted = server._clients.take(_Ticket), _Ticket()
        assert isinstance(waiting, _Ticket)
        await server._return(waiting)
        assert not server._clients.waiting
        link.client = SimpleNamespace(connection=None)
        granted.grant(link)
        await server._return(granted)
        assert server._clients.take(_Ticket) is link
        link.client = None
        granted = _Ticket()
        granted.grant(link)
        await server._return(granted)
        assert isinstance(server._clients.take(_Ticket), Link)

    asyncio.run(main())


def test_a_connection_that_is_closed_needs_no_cut() -> None:
    """
    Finding 9: a connection without a socket is let go of without one.
    """
    link = Link(0)
    connection = SimpleNamespace(_writer=None, _reader=None)
    link.client = SimpleNamespace(connection=connection)
    _cut(link, is_over=True)
    assert link.client.connection is None
