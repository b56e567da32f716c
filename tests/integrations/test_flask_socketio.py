"""
Flask-SocketIO beside the extension: both wrap ``wsgi_app``, and the outer one sees the request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import socketio
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.serving import make_server

from idlanyard import Policy, get_session_id, session_context
from idlanyard.integrations.flask import IDLanyard, current_context

CLOSED = Policy()


@contextmanager
def talking_to(app: Flask) -> Iterator[Any]:
    """
    Serve the application and yield a client with a session, connected to it.
    """
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = socketio.Client()
    try:
        address = f"http://127.0.0.1:{server.port}"
        client.connect(address, headers={"X-Session-ID": "s1"}, transports=["polling"])
        yield client
    finally:
        client.disconnect()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param("SocketIO first", ["s1", "s1"], id="SocketIO first"),
        pytest.param("IDLanyard first", [None, None], id="IDLanyard first"),
    ],
)
def test_the_extension_comes_after_socketio(order: str, expected: list[str | None]) -> None:
    """
    Made after ``SocketIO(app)`` the extension sees the requests of events,
    whose handlers read the connection's IDs by ``current_context`` and bind them by a block.
    """
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "of the tests"
    if order == "IDLanyard first":
        IDLanyard(app, CLOSED)
    sockets = SocketIO(app, async_mode="threading")
    if order == "SocketIO first":
        IDLanyard(app, CLOSED)

    @sockets.on("who")  # type: ignore[untyped-decorator]
    def who(_: str) -> list[str | None]:
        with session_context(**current_context.as_dict()):
            return [current_context.session_id, get_session_id()]

    with talking_to(app) as client:
        assert client.call("who", "", timeout=10) == expected
