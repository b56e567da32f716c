"""
Real requests over real sockets, and what comes back.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from websockets.sync.client import connect

from idlanyard._demo.servers import HOST

_TIMEOUT: Final = 20.0
_ECHOED: Final = ("x-session-id", "x-user-id", "x-tenant-id")


class Answer(NamedTuple):
    """
    One response.

    Attributes:
        status: its status; 101 for a WebSocket.
        echo: our headers on it.
        body: its body.
    """

    status: int
    echo: dict[str, str]
    body: str

    def said(self) -> dict[str, Any]:
        """
        Return what the application says it saw; nothing where it says something else.
        """
        try:
            said: dict[str, Any] = json.loads(self.body)
        except ValueError:
            return {}
        return said

    def saw(self) -> dict[str, Any]:
        """
        Return the IDs that the application saw, each with its provenance.
        """
        ids: dict[str, Any] = self.said().get("ids", {})
        return ids

    def raw(self) -> object:
        """
        Return the user header that the application saw.
        """
        return self.said().get("raw")


def ask(port: int, path: str, headers: Mapping[str, str]) -> Answer:
    """
    Send one HTTP request.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read().decode()
        return Answer(response.status, _echo(dict(response.getheaders())), body)
    finally:
        connection.close()


def ask_websocket(port: int, path: str, headers: Mapping[str, str]) -> Answer:
    """
    Open one WebSocket and read its one message.
    """
    with connect(
        f"ws://{HOST}:{port}{path}", additional_headers=dict(headers), open_timeout=_TIMEOUT
    ) as socket:
        body = socket.recv(timeout=_TIMEOUT)
        response = socket.response
        headers = {} if response is None else dict(response.headers.raw_items())
        return Answer(101, _echo(headers), str(body))


def _echo(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in _ECHOED if name in lower}
