"""
IDs on unhandled errors and early responses, and in the line of a traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from drive import (
    ask_asgi,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    values_of,
)
from idlanyard import (
    asgi,
    get_session_context,
    get_session_id,
    identify,
    wsgi,
)
from idlanyard._binding.state import ids_of_error

S1 = [("X-Session-ID", "s1")]


def _boom(request: Request) -> PlainTextResponse:
    raise ZeroDivisionError("division by zero")


async def _explain(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"session": get_session_id()}, status_code=500)


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(Starlette(routes=[Route("/", _boom)]), id="Starlette"),
        pytest.param(
            Starlette(routes=[Route("/", _boom)], exception_handlers={Exception: _explain}),
            id="Starlette with a handler",
        ),
        pytest.param(FastAPI(routes=[Route("/", _boom)]), id="FastAPI"),
        pytest.param(
            FastAPI(routes=[Route("/", _boom)], exception_handlers={Exception: _explain}),
            id="FastAPI with a handler",
        ),
    ],
)
def test_an_unhandled_error_has_its_id(app: Any) -> None:
    """
    A 500 of an app that is wrapped whole carries the session, custom handler or not.
    """
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    call = asgi.SessionContextMiddleware(app)(http_scope(S1), receive, send)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(call)
    assert sent[0]["status"] == 500
    assert values_of(pairs_of(sent[0]), "X-Session-ID") == ["s1"]
    if b"session" in sent[1]["body"]:
        assert sent[1]["body"] == b'{"session":"s1"}'


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("key"), LookupError()])
def test_an_exception_says_what_it_said(error: Exception) -> None:
    """
    ``str``, ``repr`` and ``args`` of an exception are as they were raised.
    """
    before = (str(error), repr(error), error.args)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise error

    with pytest.raises(type(error)):
        ask_wsgi(wsgi.SessionContextMiddleware(app), environ_of(S1))
    assert (str(error), repr(error), error.args) == before
    assert not hasattr(error, "__notes__")


class Closing:
    """
    An inner middleware that answers everything itself.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("slow down", status_code=429)(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "status"),
    [
        pytest.param(Starlette(), 404, id="a 404 of Starlette's router"),
        pytest.param(FastAPI(), 404, id="a 404 of FastAPI's router"),
        pytest.param(Starlette(middleware=[Middleware(Closing)]), 429, id="an early exit"),
    ],
)
def test_early_exits_have_their_id(app: Any, status: int) -> None:
    """
    An app that is wrapped whole sends the session, whichever part of it answers.
    """
    start = ask_asgi(asgi.SessionContextMiddleware(app), http_scope(S1, path="/nowhere"))[0]
    assert start["status"] == status
    assert values_of(pairs_of(start), "X-Session-ID") == ["s1"]


def test_the_traceback_line_can_name_the_request() -> None:
    """
    Nothing stays bound after an error, and the exception tells its IDs.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identify(user_id="alice")
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as caught:
        ask_asgi(asgi.SessionContextMiddleware(app), http_scope(S1))
    assert get_session_context().is_empty()
    context = ids_of_error(caught.value)
    assert context is not None
    assert context.as_dict() == {"session_id": "s1", "user_id": "alice"}
