"""
Exceptions whose class refuses attributes leave as they are, and the log line has the IDs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

# It configures Django, which its middleware wants to be.
from integrations.apps.django_settings import OURS

# isort: split
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount

from drive import ask_asgi, environ_of, http_scope
from idlanyard import Policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations import fastapi, starlette
from idlanyard.integrations.flask import IDLanyard
from idlanyard.integrations.logging import SessionContextFormatter
from idlanyard.integrations.logging import install as install_logging
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

LINES = [("X-Session-ID", "s1")]
CLOSED = Policy()


@dataclass(frozen=True)
class Frozen(Exception):
    """
    An exception that is a value.
    """

    code: int = 7


class Closed(Exception):
    """
    An exception that takes no attribute.
    """

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("closed")

    def __delattr__(self, name: str) -> None:
        raise TypeError("closed")


class Slotted(Exception):
    """
    An exception with one place.
    """

    __slots__ = ("code",)


class Answering(Exception):
    """
    An exception that looks its attributes up elsewhere.
    """

    def __getattr__(self, name: str) -> Any:
        # Python 3.11 itself asks for notes.
        raise AttributeError(name) if name.startswith("__") else KeyError(name)


ERRORS = [Frozen, Closed, Slotted, Answering]


def ask_plain_asgi(error: Exception) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    ask_asgi(ASGIMiddleware(app, CLOSED), http_scope(LINES))


def ask_plain_wsgi(error: Exception) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise error

    WSGIMiddleware(app, CLOSED)(environ_of(LINES), lambda *_: None)  # type: ignore[arg-type]


def ask_wsgi_body(error: Exception) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b"a part"
        raise error

    body = WSGIMiddleware(app, CLOSED)(environ_of(LINES), lambda *_: None)  # type: ignore[arg-type]
    for _ in body:
        pass


def ask_starlette(error: Exception) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    site = Starlette(routes=[Mount("/", app)])
    starlette.install(site, CLOSED)
    ask_asgi(site, http_scope(LINES))


def ask_fastapi(error: Exception) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    site = FastAPI()
    site.mount("/", app)
    fastapi.install(site, CLOSED)
    ask_asgi(site, http_scope(LINES))


def ask_flask(error: Exception) -> None:
    def view() -> str:
        raise error

    app = Flask(__name__)
    app.testing = True
    app.add_url_rule("/", view_func=view)
    IDLanyard(app, CLOSED)
    app.test_client().get("/", headers=dict(LINES))


class Routes:
    """
    A view that raises what a test says.
    """

    error: Exception

    @staticmethod
    def view(request: Any) -> HttpResponse:
        raise Routes.error

    urlpatterns = (path("", lambda request: Routes.view(request)),)


def ask_django(error: Exception) -> None:
    Routes.error = error
    with override_settings(ROOT_URLCONF=Routes, MIDDLEWARE=[OURS]):
        Client().get("/", headers=dict(LINES))


ASKS: list[Callable[[Exception], None]] = [
    ask_plain_asgi,
    ask_plain_wsgi,
    ask_wsgi_body,
    ask_starlette,
    ask_fastapi,
    ask_flask,
    ask_django,
]


@pytest.fixture(autouse=True)
def logging_installed() -> Iterator[None]:
    """
    Install the IDs on log records.
    """
    undo = install_logging()
    yield
    undo()


def line_of(error: Exception) -> str:
    """
    Return what a server's line says of an error after the request.
    """
    failure = type(error), error, None
    record = logging.getLogRecordFactory()("server", logging.ERROR, "", 0, "failed", (), failure)
    return SessionContextFormatter("%(session_id)s %(message)s").format(record)


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_that_refuses_attributes_passes(
    ask: Callable[[Exception], None], kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """
    It leaves as it was raised, whatever is between, and the line that is
    logged of it has the session.
    """
    error = kind()
    before = type(error), error.args, str(error)
    with pytest.raises(kind) as caught:
        ask(error)
    assert caught.value is error
    assert (type(error), error.args, str(error)) == before
    if ask is ask_django:
        # Django answers and logs it inside the middleware.
        (record,) = [record for record in caplog.records if record.name == "django.request"]
        assert record.__dict__["session_id"] == "s1"
    else:
        assert line_of(error).startswith("s1 failed")
