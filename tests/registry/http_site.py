"""
A client of a face, servers for it, and the functions of an application behind it.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import uvicorn
from waitress import wasyncore
from waitress.server import create_server

from idlanyard import get_session_id, get_user_id, identify
from idlanyard.registry import AsyncSessionRegistry, SessionRecord, SessionRegistry
from idlanyard.registry.http import Grant, SessionRequest

JSON = {"Content-Type": "application/json"}


def fresh(name: str = "s") -> str:
    """
    Return an ID that no other test has.
    """
    return f"{name}-{uuid4().hex}"


class Broken(Exception):
    """
    An error of an application.
    """


def said(record: SessionRecord, body: dict[str, Any]) -> Any:
    """
    Stands for an application: it says what it sees, or does what it is told.
    """
    if "raise" in body:
        raise Broken
    if "identify" in body:
        identify(user_id=body["identify"])
    if "return" in body:
        return {"set": {1}, "nan": float("nan"), "text": "x", "list": [1, None], "null": None}[
            body["return"]
        ]
    return {"body": body, "bound": get_session_id(), "record": record.session_id}


async def said_async(record: SessionRecord, body: dict[str, Any]) -> Any:
    """
    The same, awaited.
    """
    return said(record, body)


def may(request: SessionRequest) -> bool:
    """
    Known users may create sessions, and each may use only their own.
    """
    user = get_user_id()
    if request.action == "create":
        return user is not None
    if user == "admin":
        return True
    # Nobody is not the owner of what has none.
    return user is not None and request.record is not None and request.record.client_id == user


async def may_async(request: SessionRequest) -> bool:
    """
    The same, awaited.
    """
    return may(request)


def grants(request: SessionRequest) -> bool | Grant:
    """
    Give each user sessions of his own, for as long as the server says.
    """
    user = get_user_id()
    if user is None:
        return False
    if request.action == "create":
        return Grant(client_id=user, ttl=60, metadata={"by": user})
    return request.record is not None and request.record.client_id == user


async def grants_async(request: SessionRequest) -> bool | Grant:
    """
    The same, awaited.
    """
    return grants(request)


@dataclass(frozen=True)
class Kind:
    """
    The registry and the functions behind a face.
    """

    open: Callable[..., SessionRegistry | AsyncSessionRegistry]
    on_input: Callable[[SessionRecord, dict[str, Any]], Any]
    authorize: Callable[[SessionRequest], bool | Awaitable[bool]]
    grant: Callable[[SessionRequest], bool | Grant | Awaitable[bool | Grant]]


SYNC = Kind(SessionRegistry.open, said, may, grants)
ASYNC = Kind(AsyncSessionRegistry.open, said_async, may_async, grants_async)


@contextmanager
def by_uvicorn(app: Any, **options: Any) -> Iterator[int]:
    """
    Serve an ASGI application; its port is yielded.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        options = {"log_config": None, "timeout_graceful_shutdown": 5} | options
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def by_waitress(app: Any) -> Iterator[int]:
    """
    Serve a WSGI application; its port is yielded.
    """
    channels: dict[int, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server: Any = create_server(app, map=channels, sockets=[listening])
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # Its workers tell the loop when they are done: they end first.
            server.task_dispatcher.shutdown()
            server.trigger.pull_trigger(lambda: wasyncore.close_all(channels))
            thread.join()


@dataclass(frozen=True)
class Answer:
    """
    One response.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """
        The JSON in the body.
        """
        return json.loads(self.body)

    def is_ours(self) -> bool:
        """
        Return whether the API wrote it, and not a framework.
        """
        return (self.headers.get("content-type"), self.headers.get("cache-control")) == (
            "application/json",
            "no-store",
        )


class Site:
    """
    The API where it is served: ``/api/v1`` for everyone, ``/guarded`` for owners,
    ``/silent`` without input, ``/granted`` where the server names the owner.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Send one request, its target as it stands.
        """
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(method, target, body, dict(headers or {}), encode_chunked=chunked)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def create(self, at: str = "/api/v1", user: str | None = None, **fields: Any) -> Answer:
        """
        Create a session.
        """
        headers = JSON if user is None else JSON | {"X-User-ID": user}
        return self.ask("POST", f"{at}/session/create", json.dumps(fields).encode(), headers)

    def keyed(
        self, key: str, at: str = "/api/v1", user: str | None = None, **fields: Any
    ) -> Answer:
        """
        Create a session by an idempotency key.
        """
        headers = JSON | {"Idempotency-Key": key} | ({} if user is None else {"X-User-ID": user})
        return self.ask("POST", f"{at}/session/create", json.dumps(fields).encode(), headers)

    def update(
        self, name: str, /, at: str = "/api/v1", user: str | None = None, **fields: Any
    ) -> Answer:
        """
        Change a session.
        """
        headers = JSON if user is None else JSON | {"X-User-ID": user}
        target = f"{at}/session/{quote(name, safe='')}"
        return self.ask("PATCH", target, json.dumps(fields).encode(), headers)

    def at(
        self, method: str, session_id: str, at: str = "/api/v1", user: str | None = None
    ) -> Answer:
        """
        Ask about one session.
        """
        headers = {} if user is None else {"X-User-ID": user}
        return self.ask(method, f"{at}/session/{quote(session_id, safe='')}", None, headers)

    def input(
        self, name: str, /, at: str = "/api/v1", user: str | None = None, **fields: Any
    ) -> Answer:
        """
        Send input to a session.
        """
        headers = JSON if user is None else JSON | {"X-User-ID": user}
        target = f"{at}/session/{quote(name, safe='')}/input"
        return self.ask("POST", target, json.dumps(fields).encode(), headers)

    def raw(self, sent: bytes, *, hang_up: bool = True) -> list[int]:
        """
        Send bytes, and return the status of every response to them.

        Without *hang_up* the server has to close: Django answers nobody under ASGI who has
        closed one half of the connection.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            received = b""
            try:
                connection.sendall(sent)
                if hang_up:
                    connection.shutdown(socket.SHUT_WR)
            except OSError as error:
                # The server may have had enough.
                if error.errno not in {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN}:
                    raise
            try:
                while piece := connection.recv(65_536):
                    received += piece
            except ConnectionError:
                pass
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]

    def alive(self) -> bool:
        """
        Return whether it still answers.
        """
        return self.create().status == 200


def error_of(answer: Answer, status: int, name: str = "HTTPException") -> str:
    """
    Check that an answer is an error in the API's own shape, and return its message.
    """
    assert (answer.status, answer.is_ours()) == (status, True)
    assert answer.json.keys() == {"error", "message", "timestamp"}
    assert answer.json["error"] == name
    assert abs(moment(answer.json["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=5)
    message = answer.json["message"]
    assert isinstance(message, str)
    return message


def moment(text: str) -> datetime:
    """
    Read a moment, which is written with microseconds and Z.
    """
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    return datetime.fromisoformat(text)
