"""
The two sides from which an application is asked: a test client and a server.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.testclient import TestClient
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client

from idlanyard import get_user_id
from idlanyard._binding.state import ids_of_error
from integrations.apps.seen import DEADLINE, JOURNAL

Line = tuple[str, str]
HOST = "127.0.0.1"
BACKLOG = 1024


@dataclass(frozen=True)
class Answer:
    """
    A response as it came.

    Attributes:
        status: its code.
        headers: its lines in order.
        body: all of it.
    """

    status: int
    headers: list[Line]
    body: bytes

    def all(self, name: str) -> list[str]:
        """
        Return the values of every line of one name.
        """
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Any:
        """
        Return the body, understood.
        """
        return json.loads(self.body)


Ask = Callable[..., Answer]
"""
Called with a path, header lines and ``method=``.
"""


def over_http(port: int) -> Ask:
    """
    Return what asks the server on *port*, one connection a request.
    """

    def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE)
        try:
            connection.putrequest(method, path)
            for name, value in lines:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    return ask


LOGGERS = ("uvicorn.error", "uvicorn.access")


@contextmanager
def noting_lines() -> Iterator[None]:
    """
    Note what the server logs, instead of printing it.
    """
    handler = Lines()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.propagate = propagate
            logger.setLevel(level)
            logger.removeHandler(handler)


class Lines(logging.Handler):
    """
    Notes who the user is when an access line is written, and what a logged error carries.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "uvicorn.access":
            path = record.args[2] if isinstance(record.args, tuple) else ""
            JOURNAL.note(f"access {path}", get_user_id())
        elif record.exc_info and record.exc_info[1]:
            carried = ids_of_error(record.exc_info[1])
            JOURNAL.note("error", carried and carried.session_id)


@contextmanager
def serving_asgi(app: Any) -> Generator[int, None, None]:
    """
    Serve *app* under uvicorn meanwhile; the port is yielded.
    """
    config = uvicorn.Config(
        app, host=HOST, port=0, log_config=None, proxy_headers=False, lifespan="auto"
    )
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    # Requests that come before the server is up wait instead of being refused.
    listener.listen(BACKLOG)
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    with noting_lines():
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
            listener.close()


class AllowingOrigins:
    """
    A CORS middleware for WSGI, as people write it: it answers preflights by itself.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        ours = [
            ("Access-Control-Allow-Origin", environ.get("HTTP_ORIGIN", "*")),
            ("Access-Control-Expose-Headers", "X-Total"),
        ]
        if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            start_response("200 OK", [*ours, ("Content-Length", "0")])
            return [b""]

        def start(status: str, headers: list[Line], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, *ours], exc_info)

        return self._app(environ, start)


class Silent(WSGIRequestHandler):
    """
    Logs nothing, also not of clients that go.
    """

    def log(self, *args: Any) -> None: ...

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None: ...


class Noted:
    """
    A server's access log: reads the environ once the response is out.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        body = self._app(environ, start_response)
        try:
            yield from body
        finally:
            if hasattr(body, "close"):
                body.close()
            # By its path, since a line may come when the next test has begun.
            JOURNAL.note(f"access {path}", environ.get("idlanyard.user_id"))


@contextmanager
def serving_wsgi(app: Any) -> Generator[int, None, None]:
    """
    Serve *app* with a thread for each request meanwhile; the port is yielded.
    """
    server = make_server(HOST, 0, Noted(app), threaded=True, request_handler=Silent)
    server.socket.listen(BACKLOG)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Received(socket.socket):
    """
    A connection whose answer has come already.
    """

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        return io.BytesIO(self._answer)


async def ask_at_once(port: int, requests: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """
    Ask for paths with a session each, all at once; the echo and the body of each come back.
    """

    async def one(path: str, session: str) -> tuple[str, str]:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Session-ID: {session}\r\n"
            f"Connection: close\r\n\r\n".encode()
        )
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        await writer.wait_closed()
        response = http.client.HTTPResponse(Received(answer))
        response.begin()
        return response.headers["X-Session-ID"], response.read().decode()

    return await asyncio.gather(*(one(path, session) for path, session in requests))


def leave_early(port: int, path: str, session: str) -> bytes:
    """
    Read the first part of a stream, and go.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={"X-Session-ID": session})
        return connection.getresponse().readline()
    finally:
        connection.close()


@contextmanager
def asking_asgi(app: Any, *, lifespan: bool = True) -> Iterator[Ask]:
    """
    Ask any ASGI application through Starlette's test client.
    """
    # The client's default name is no address, and so could never be trusted.
    client = TestClient(app, raise_server_exceptions=False, client=(HOST, 50000))

    def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
        response = client.request(method, path, headers=list(lines))
        return Answer(response.status_code, response.headers.multi_items(), response.content)

    with client if lifespan else nullcontext():
        yield ask


@contextmanager
def asking_wsgi(client: Client) -> Iterator[Ask]:
    """
    Ask through a test client of werkzeug's, as Flask's is.
    """

    def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
        peer = {"REMOTE_ADDR": HOST}
        with client.open(
            path, method=method, headers=list(lines), environ_overrides=peer
        ) as response:
            return Answer(response.status_code, list(response.headers), response.data)

    yield ask
