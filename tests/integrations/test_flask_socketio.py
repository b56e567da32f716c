"""
Flask-SocketIO beside the extension: both wrap ``wsgi_app``, and the outer one sees the request.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.serving import make_server

from idlanyard import Policy, get_session_context, get_session_id
from idlanyard.integrations.flask import IDLanyard, current_context

CLOSED = Policy()
FLAGS = re.MULTILINE | re.DOTALL


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
        pytest.param("SocketIO first", ["s1", "s1", "client"], id="SocketIO first"),
        pytest.param("IDLanyard first", [None, None, None], id="IDLanyard first"),
    ],
)
def test_the_extension_comes_after_socketio(order: str, expected: list[str | None]) -> None:
    """
    Made after ``SocketIO(app)`` the extension sees the requests of events, whose handlers read
    the connection's IDs by ``current_context``, and bind them with their provenance as the page
    has it.
    """
    page = Path(__file__).parents[2].joinpath("docs", "flask.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n([^`]*def ids_of_connection.*?)^```", page, FLAGS)
    names: dict[str, Any] = {}
    exec(block, names)
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "of the tests"
    if order == "IDLanyard first":
        IDLanyard(app, CLOSED)
    sockets = SocketIO(app, async_mode="threading")
    if order == "SocketIO first":
        IDLanyard(app, CLOSED)

    @sockets.on("who")  # type: ignore[untyped-decorator]
    def who(_: str) -> list[str | None]:
        with names["ids_of_connection"]():
            how = get_session_context().provenance("session_id")
            return [current_context.session_id, get_session_id(), how]

    with talking_to(app) as client:
        assert client.call("who", "", timeout=10) == expected
