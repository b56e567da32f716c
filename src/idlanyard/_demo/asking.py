"""
Real requests over real sockets, and their responses.
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


class DemoResponse(NamedTuple):
    """
    One response.

    Attributes:
        status: the status; 101 for a WebSocket.
        echo: the headers of ours.
        body: the body.
    """

    status: int
    echo: dict[str, str]
    body: str

    def read_body(self) -> dict[str, Any]:
        """
        Return the body of an application that describes its binding, else an empty mapping.
        """
        try:
            described: dict[str, Any] = json.loads(self.body)
        except ValueError:
            return {}
        return described

    def ids_seen(self) -> dict[str, Any]:
        """
        Return the IDs that the application saw, each with its provenance.
        """
        ids: dict[str, Any] = self.read_body().get("ids", {})
        return ids

    def user_header(self) -> object:
        """
        Return the user header that the application saw.
        """
        return self.read_body().get("raw")


def ask(port: int, path: str, headers: Mapping[str, str]) -> DemoResponse:
    """
    Send one HTTP request.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read().decode()
        return DemoResponse(response.status, _read_echo(dict(response.getheaders())), body)
    finally:
        connection.close()


def ask_websocket(port: int, path: str, headers: Mapping[str, str]) -> DemoResponse:
    """
    Open one WebSocket and read its one message.
    """
    with connect(
        f"ws://{HOST}:{port}{path}", additional_headers=dict(headers), open_timeout=_TIMEOUT
    ) as socket:
        body = socket.recv(timeout=_TIMEOUT)
        response = socket.response
        headers = {} if response is None else dict(response.headers.raw_items())
        return DemoResponse(101, _read_echo(headers), str(body))


def _read_echo(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in _ECHOED if name in lower}
