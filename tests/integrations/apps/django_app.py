"""
The contract's routes on Django, sync and async.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from idlanyard import Policy, carry, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware
from integrations.apps.django_settings import OURS
from integrations.apps.seen import (
    AsyncGate,
    Boom,
    Gate,
    ids,
    note_background,
    seen,
    three,
    three_async,
    without_end,
    without_end_async,
)

WAITING = Gate()
WAITING_ASYNC = AsyncGate()


def read(request: HttpRequest) -> HttpResponse:
    return JsonResponse(seen(request.headers.items()))


async def read_async(request: HttpRequest) -> HttpResponse:
    return JsonResponse(seen(request.headers.items()))


def login(request: HttpRequest) -> HttpResponse:
    identify(user_id="alice")
    return JsonResponse(ids())


def wrong(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=409)


def boom(request: HttpRequest) -> HttpResponse:
    raise Boom("as it was")


async def boom_async(request: HttpRequest) -> HttpResponse:
    raise Boom("as it was")


def own(request: HttpRequest) -> HttpResponse:
    return HttpResponse("own", headers={"X-Session-ID": "app-set"})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(three())


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(three_async())


def endless(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(without_end())


async def endless_async(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(without_end_async())


def background(request: HttpRequest) -> HttpResponse:
    threading.Thread(target=carry(note_background)).start()
    return HttpResponse("ok")


def wait(request: HttpRequest) -> HttpResponse:
    first = get_session_id()
    WAITING.wait(500)
    return HttpResponse(f"{first} {get_session_id()}")


async def wait_async(request: HttpRequest) -> HttpResponse:
    first = get_session_id()
    await WAITING_ASYNC.wait(500)
    return HttpResponse(f"{first} {get_session_id()}")


def handle(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"handled {get_session_id()}", status=500)


SHARED = [
    path("login", login),
    path("wrong", wrong),
    path("own", own),
    path("background", background),
]


class Plain:
    """
    The routes of the sync side.
    """

    urlpatterns = (
        *SHARED,
        path("ids", read),
        path("boom", boom),
        path("stream", stream),
        path("endless", endless),
        path("wait", wait),
    )


class PlainAsync:
    """
    The routes of the async side.
    """

    urlpatterns = (
        *SHARED,
        path("ids", read_async),
        path("boom", boom_async),
        path("stream", stream_async),
        path("endless", endless_async),
        path("wait", wait_async),
    )


class Handled(Plain):
    """
    The same with a handler for the 500.
    """

    handler500 = staticmethod(handle)


class HandledAsync(PlainAsync):
    """
    The same with a handler for the 500.
    """

    handler500 = staticmethod(handle)


def _configure(
    routes: type, policy: Policy | None, middle: Sequence[str], lines: Sequence[str] | None
) -> None:
    settings.ROOT_URLCONF = routes
    settings.IDLANYARD = policy
    settings.MIDDLEWARE = [OURS, *middle] if lines is None else lines


def build(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[str] = (),
    lines: Sequence[str] | None = None,
) -> Any:
    """
    Return a fresh WSGI application that has the IDs; the one before is not used any more.

    Args:
        policy: the rules.
        handler: whether it has a handler of its own for the 500.
        middle: middlewares below ours.
        lines: all of ``MIDDLEWARE``, where ours is not simply first.
    """
    _configure(Handled if handler else Plain, policy, middle, lines)
    return get_wsgi_application()


def build_async(
    policy: Policy | None = None,
    *,
    handler: bool = False,
    middle: Sequence[str] = (),
    lines: Sequence[str] | None = None,
) -> Any:
    """
    Return the same over ASGI.
    """
    _configure(HandledAsync if handler else PlainAsync, policy, middle, lines)
    return get_asgi_application()


def build_wrapped(policy: Policy | None = None, **options: Any) -> Any:
    """
    Return the same inside the ASGI middleware, as ``asgi.py`` has it for access lines.
    """
    return SessionContextMiddleware(build_async(policy, **options), policy)
