"""
Real servers on free loopback ports: uvicorn for ASGI, waitress for WSGI.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from waitress.server import create_server

from idlanyard import SessionContext
from idlanyard._binding.state import ids_of_error

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 512
_LOGGERS: Final = ("uvicorn.error", "waitress")


class Tracebacks(logging.Handler):
    """
    A handler that keeps the IDs attached to the exceptions that a server logs.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.contexts: list[SessionContext] = []

    def emit(self, record: logging.LogRecord) -> None:
        """
        Keep the IDs that are attached to the record's exception.
        """
        error = record.exc_info[1] if record.exc_info else None
        context = None if error is None else ids_of_error(error)
        if context is not None:
            self.contexts.append(context)

    def sessions(self) -> list[str | None]:
        """
        Return the sessions of the exceptions logged so far.
        """
        return [context.session_id for context in self.contexts]


@contextmanager
def catch_tracebacks() -> Generator[Tracebacks, None, None]:
    """
    Catch the tracebacks that the servers log, in place of the terminal.
    """
    handler = Tracebacks()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield handler
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate


@contextmanager
def serve_asgi(app: Any, port: int = 0) -> Generator[int, None, None]:
    """
    Serve *app* under uvicorn meanwhile; the port is yielded.
    """
    config = uvicorn.Config(
        app, host=HOST, port=port, log_config=None, lifespan="off", proxy_headers=False
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    # Requests that come before the server is up wait instead of being refused.
    socket.listen(_BACKLOG)
    thread = threading.Thread(target=asyncio.run, args=(server.serve([socket]),))
    thread.start()
    try:
        yield socket.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        socket.close()


@contextmanager
def serve_wsgi(app: Any, port: int = 0) -> Generator[int, None, None]:
    """
    Serve *app* under waitress meanwhile; the port is yielded.
    """
    channels: dict[int, Any] = {}
    server: Any = create_server(app, map=channels, host=HOST, port=port, threads=16)
    thread = threading.Thread(target=server.run)
    thread.start()

    def stop() -> None:
        for channel in [*channels.values()]:
            channel.close()

    try:
        yield server.effective_port
    finally:
        # In the server's own thread, which may be reading from a socket closed elsewhere.
        server.trigger.pull_trigger(stop)
        thread.join()
        server.task_dispatcher.shutdown()
