"""
Applications that were not written for us, and ones of ours with one fault each.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from starlette.middleware.cors import CORSMiddleware

from doctor.apps.right import make_fastapi, make_flask
from idlanyard import EVERYONE, Policy, session_spec
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations.fastapi import install
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

ORIGIN = "https://shop.example"
last_session: ContextVar[Any] = ContextVar("last_session")

plain = make_fastapi()
plain_flask = make_flask()

# Added and not installed: an unhandled 500 is answered outside of it.
added = make_fastapi()
added.add_middleware(ASGIMiddleware)

# CORS is outside of ours: it answers preflights, and exposes no header.
inside_cors = make_fastapi()
inside_cors.add_middleware(ASGIMiddleware)
inside_cors.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])

# CORS is inside, and knows nothing of our header.
unexposed = make_fastapi()
unexposed.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])
install(unexposed)

exposed = make_fastapi()
exposed.add_middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_headers=["X-Session-ID"])
install(exposed, Policy(expose=True))


def believing() -> Any:
    """
    Return an application that believes every client.
    """
    app = make_fastapi()
    install(app, Policy(trusted_peers=EVERYONE))
    return app


cached = make_fastapi()
install(cached, Policy(session=session_spec(echo="always")))


class Doubling:
    """
    A middleware that writes a header of ours as well.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def doubled(message: Any) -> None:
            if message["type"] == "http.response.start":
                pairs = [*message["headers"], (b"x-session-id", b"another")]
                message = {**message, "headers": pairs}
            await send(message)

        await self.app(scope, receive, doubled)


doubled = Doubling(ASGIMiddleware(make_fastapi()))


def leaving(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """
    Set a variable of its own and never reset it.
    """
    last_session.set({"ids": [environ.get("HTTP_X_SESSION_ID", "").encode()]})
    start_response("200 OK", [])
    return [b"done"]


def raising(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """
    Answer nothing to a request for one path.
    """
    if environ["PATH_INFO"] == "/boom":
        raise LookupError("as asked")
    start_response("404 Not Found", [])
    return []


raising_inside = WSGIMiddleware(raising)


def slow(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """
    Answer nothing for ever.
    """
    threading.Event().wait()
    return []


async def slow_async(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer nothing for ever, and have no lifespan.
    """
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan")
    await asyncio.Event().wait()


async def never_started(scope: Any, receive: Any, send: Any) -> None:
    """
    Never say that the lifespan has started.
    """
    await asyncio.Event().wait()


async def failing_lifespan(scope: Any, receive: Any, send: Any) -> None:
    """
    Say that the lifespan has failed.
    """
    await send({"type": "lifespan.startup.failed", "message": "Traceback\n  no database\n\n"})


not_an_application = 5


def needs_arguments(one: object) -> None:
    """
    Be callable in no way that a server knows.
    """


def takes_anything(*arguments: object) -> None:
    """
    Be callable in every way.
    """


def factory_without_library() -> None:
    """
    Miss a library that is imported late.
    """
    raise ModuleNotFoundError("No module named 'no_such_library'", name="no_such_library")


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """
    End without a response.
    """


def broken_factory() -> None:
    """
    Fail.
    """
    raise LookupError("as asked")
