"""
Ask a face in this process, on an event loop or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from werkzeug.test import Client

from idlanyard.registry.asgi import asgi_app
from idlanyard.registry.fastapi import sessions_router
from idlanyard.registry.wsgi import wsgi_app


def ask_asgi(app: Any) -> Callable[..., Any]:
    """
    Return what sends an ASGI application one request, on an event loop of its own.
    """

    def ask(method: str, path: str, raises: bool = False, **options: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=raises)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())

    return ask


def ask_wsgi(app: Any) -> Callable[..., Any]:
    """
    Return what sends a WSGI application one request.
    """

    def ask(method: str, path: str, raises: bool = True, **options: Any) -> Any:
        response = Client(app).open(path, method=method, **options)
        return httpx.Response(
            response.status_code, headers=list(response.headers), content=response.data
        )

    return ask


@contextmanager
def asgi(registry: Any, **options: Any) -> Iterator[Callable[..., Any]]:
    """
    The ASGI application as it is.
    """
    yield ask_asgi(asgi_app(registry, **options))


@contextmanager
def fastapi(registry: Any, **options: Any) -> Iterator[Callable[..., Any]]:
    """
    The router in an application.
    """
    app = FastAPI()
    app.include_router(sessions_router(registry, **options))
    yield ask_asgi(app)


@contextmanager
def wsgi(registry: Any, **options: Any) -> Iterator[Callable[..., Any]]:
    """
    The WSGI application as it is.
    """
    yield ask_wsgi(wsgi_app(registry, **options))


FACES = [asgi, fastapi, wsgi]
ON_LOOPS = [asgi, fastapi]
# Nothing is awaited on WSGI.
PLAIN_OR_AWAITED = pytest.mark.parametrize(
    ("face", "awaited"), [(face, kind) for face in FACES for kind in (False, True)][:-1]
)
