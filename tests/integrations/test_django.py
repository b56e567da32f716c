"""
Django: the contract, sync and async.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import AsyncClient
from django.test import Client as SyncClient
from werkzeug.test import Client

from idlanyard import Policy
from integrations.apps import django_app
from integrations.contract import Contract, nothing_is_noted
from integrations.sides import Answer, Ask, Line, asking_asgi, asking_wsgi

__all__ = ["nothing_is_noted"]

CORS = "corsheaders.middleware.CorsMiddleware"


@contextmanager
def asking_django(client: Any) -> Iterator[Ask]:
    """
    Ask through Django's own test client.
    """

    def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
        response = client.generic(method, path, headers=dict(lines))
        body = response.getvalue() if response.streaming else response.content
        return Answer(response.status_code, list(response.items()), body)

    yield ask


@contextmanager
def asking_django_async(client: Any) -> Iterator[Ask]:
    """
    Ask through Django's own async test client.
    """

    async def asked(path: str, lines: Iterable[Line], method: str) -> Answer:
        response = await client.generic(method, path, headers=dict(lines))
        if response.streaming:
            body = b"".join([part async for part in response])
        else:
            body = response.content
        return Answer(response.status_code, list(response.items()), body)

    def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
        return asyncio.run(asked(path, lines, method))

    yield ask


class TestDjango(Contract):
    """
    Django keeps the contract over WSGI.
    """

    build = staticmethod(django_app.build)
    protocol = "wsgi"
    escapes = False

    def with_origins_inside(self, policy: Policy) -> Any:
        return type(self).build(policy, middle=[CORS])

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        if isinstance(app, WSGIHandler):
            return asking_django(SyncClient(raise_request_exception=False))
        return asking_wsgi(Client(app))


class TestDjangoAsync(Contract):
    """
    Django keeps the contract over ASGI.
    """

    build = staticmethod(django_app.build_async)
    protocol = "asgi"
    escapes = False
    # Django sends the response after its middlewares have returned it.
    logs_inside = False

    def with_origins_inside(self, policy: Policy) -> Any:
        return type(self).build(policy, middle=[CORS])

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        if isinstance(app, ASGIHandler):
            return asking_django_async(AsyncClient(raise_request_exception=False))
        return asking_asgi(app, lifespan=False)


class TestDjangoWrapped(TestDjangoAsync):
    """
    Django keeps the contract inside the ASGI middleware, access lines included.
    """

    build = staticmethod(django_app.build_wrapped)
    logs_inside = True
