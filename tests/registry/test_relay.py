"""
The relay between a client and a server loses what it is told to, however it arrives.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from registry.relay import Relay

LONG = 10


@pytest.fixture
def heard() -> Iterator[tuple[int, list[bytes]]]:
    """
    Serve one connection, which is answered once a question has its end; yield the port and
    the pieces that came.
    """
    pieces: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LONG)

        def serve() -> None:
            connection, _ = listener.accept()
            with closing(connection):
                while piece := connection.recv(100):
                    pieces.append(piece)
                    if piece.endswith(b"end"):
                        connection.sendall(b"answer")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], pieces
        thread.join()


def test_an_answer_is_lost_whose_question_comes_in_pieces(heard: tuple[int, list[bytes]]) -> None:
    """
    The rest of a question reaches the server when its mark was in the first piece.
    """
    port, pieces = heard
    with Relay(port) as relay:
        relay.lose(b"begin")
        with socket.create_connection(("127.0.0.1", relay.port), timeout=LONG) as client:
            client.sendall(b"begin ")
            while not pieces:
                client.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    client.recv(1)
            client.settimeout(LONG)
            client.sendall(b"end")
            assert client.recv(10) == b""
        assert (relay.lost, pieces) == (1, [b"begin ", b"end"])


def test_a_relay_ends_while_an_answer_is_awaited(heard: tuple[int, list[bytes]]) -> None:
    """
    No thread of a relay waits for an answer that does not come when the relay ends.
    """
    port, pieces = heard
    with Relay(port) as relay, socket.create_connection(("127.0.0.1", relay.port)) as client:
        relay.lose(b"begin")
        client.sendall(b"begin ")
        while not pieces:
            client.settimeout(0.01)
            with pytest.raises(TimeoutError):
                client.recv(1)
    assert relay.lost == 0
