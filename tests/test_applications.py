"""
What the two middlewares may be put around.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from idlanyard import asgi, wsgi

DJANGO = 'in Django\'s settings write "idlanyard.integrations.django.SessionContextMiddleware"'


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """An application over ASGI."""


def wsgi_app(environ: Any, start_response: Any) -> Any:
    return []


def get_response(request: Any) -> Any:
    return None


@functools.wraps(get_response)
async def looks_otherwise(scope: Any, receive: Any, send: Any) -> None:
    """An application that was made to look like something else."""


class ASGI:
    """
    An application that is an object.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve nothing."""


class WSGI:
    """
    The same over WSGI, with a method beside it.
    """

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return []

    def serve(self, *args: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("middleware", "app"),
    [
        pytest.param(asgi, asgi_app, id="ASGI function"),
        pytest.param(asgi, ASGI(), id="ASGI object"),
        pytest.param(asgi, functools.partial(asgi_app), id="ASGI partial"),
        pytest.param(asgi, looks_otherwise, id="ASGI that looks otherwise"),
        pytest.param(asgi, asgi.SessionContextMiddleware(asgi_app), id="ASGI middleware"),
        pytest.param(asgi, lambda *anything: None, id="anything"),
        pytest.param(asgi, type, id="a callable that does not say what it takes"),
        pytest.param(wsgi, wsgi_app, id="WSGI function"),
        pytest.param(wsgi, WSGI(), id="WSGI object"),
        pytest.param(wsgi, WSGI().serve, id="WSGI method"),
        pytest.param(wsgi, wsgi.SessionContextMiddleware(wsgi_app), id="WSGI middleware"),
    ],
)
def test_applications_are_taken(middleware: Any, app: Any) -> None:
    """
    A middleware takes whatever can be called as its protocol calls applications.
    """
    assert middleware.SessionContextMiddleware(app).app is app


@pytest.mark.parametrize(
    ("middleware", "app", "message"),
    [
        pytest.param(
            asgi,
            wsgi_app,
            "this one takes environ, start_response: write from idlanyard.wsgi import Session",
            id="WSGI function",
        ),
        pytest.param(asgi, WSGI(), "write from idlanyard.wsgi import Session", id="WSGI object"),
        pytest.param(
            wsgi,
            asgi_app,
            "this one takes scope, receive, send: write from idlanyard.asgi import Session",
            id="ASGI function",
        ),
        pytest.param(wsgi, ASGI(), "write from idlanyard.asgi import Session", id="ASGI object"),
        pytest.param(asgi, get_response, DJANGO, id="Django"),
        pytest.param(wsgi, get_response, DJANGO, id="Django over WSGI"),
        pytest.param(asgi, async_to_sync(asgi_app), DJANGO, id="an adapter of Django's"),
        pytest.param(wsgi, sync_to_async(wsgi_app), DJANGO, id="the other one"),
        pytest.param(asgi, None, "app is an ASGI application, not NoneType", id="nothing"),
        pytest.param(wsgi, None, "app is a WSGI application, not NoneType", id="nothing, WSGI"),
        pytest.param(
            asgi, lambda: None, "application, which takes scope, receive, send", id="neither"
        ),
    ],
)
def test_anything_else_is_answered_by_what_to_write(
    middleware: Any, app: Any, message: str
) -> None:
    """
    R14: the middleware of another protocol raises where it is built, and not for each request.
    """
    with pytest.raises(TypeError) as caught:
        middleware.SessionContextMiddleware(app)
    assert message in str(caught.value)
