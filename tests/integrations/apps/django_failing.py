"""
Views and middlewares that Django logs a line about, each in its own way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

# It configures Django, which Django REST framework wants to be.
import integrations.apps.django_settings  # noqa: F401

# isort: split
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    SuspiciousOperation,
)
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_only_middleware
from django.views.decorators.csrf import csrf_protect
from django.views.generic import RedirectView, View
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import APIView

from idlanyard import set_session_context

RAISED = (
    Http404,
    PermissionDenied,
    BadRequest,
    SuspiciousOperation,
    DisallowedHost,
    LookupError,
)
API = (
    drf.NotAuthenticated,
    drf.PermissionDenied,
    drf.NotFound,
    drf.Throttled,
    drf.APIException,
    LookupError,
)


def returning(status: int) -> Any:
    return lambda request: HttpResponse(status=status)


def raising(error: type[Exception]) -> Any:
    def view(request: HttpRequest) -> HttpResponse:
        raise error("as it was")

    return view


def returning_async(status: int) -> Any:
    async def view(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse(status=status)

    return view


def raising_async(error: type[Exception]) -> Any:
    async def view(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        raise error("as it was")

    return view


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(["part"]), status=503)


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield "part"

    return StreamingHttpResponse(parts(), status=503)


def read_body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def read_form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.POST)))


def forget(request: HttpRequest) -> Any:
    return None


@csrf_protect
def protected(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def overlay(request: HttpRequest) -> HttpResponse:
    set_session_context("of-the-view")
    return HttpResponse(status=404)


async def overlay_async(request: HttpRequest) -> HttpResponse:
    return overlay(request)


class Asked(View):
    """
    A view that answers GET only, and one that does so asynchronously.
    """

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")


class AskedAsync(View):
    """
    The same, awaited.
    """

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")


def api(error: type[Exception]) -> Any:
    class Endpoint(APIView):
        """
        A view of Django REST framework that fails.
        """

        authentication_classes = ()

        def get(self, request: Any) -> Response:
            raise error

    return Endpoint.as_view()


class Routes:
    """
    Views that Django logs a line about.
    """

    urlpatterns = (
        path("asked", Asked.as_view()),
        path("asked-async", AskedAsync.as_view()),
        path("body", read_body),
        path("forget", forget),
        path("form", read_form),
        path("gone", RedirectView.as_view(url=None)),
        path("overlay", overlay),
        path("overlay-async", overlay_async),
        path("protected", protected),
        path("slash/", returning(200)),
        path("stream", stream),
        path("stream-async", stream_async),
        *(path(f"return/{s}", returning(s)) for s in (200, 302, 304, 400, 401, 403, 404)),
        *(path(f"return/{s}", returning(s)) for s in (410, 418, 429, 500, 503)),
        *(path(f"raise/{error.__name__}", raising(error)) for error in RAISED),
        *(path(f"return-async/{s}", returning_async(s)) for s in (200, 404, 503)),
        *(path(f"raise-async/{error.__name__}", raising_async(error)) for error in RAISED),
        *(path(f"api/{error.__name__}", api(error)) for error in API),
    )


def handle_badly(request: HttpRequest, exception: Exception) -> HttpResponse:
    raise LookupError("the handler itself")


class BadHandlers(Routes):
    """
    The same, where the page for a 404 fails as well.
    """

    handler404 = staticmethod(handle_badly)


@sync_only_middleware
def between(get_response: Any) -> Any:
    return lambda request: get_response(request)


@async_only_middleware
def between_async(get_response: Any) -> Any:
    async def middleware(request: HttpRequest) -> Any:
        return await get_response(request)

    return middleware


def failing(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> Any:
        raise PermissionDenied

    return middleware


def falling_back(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> Any:
        response = get_response(request)
        return HttpResponse("found here") if response.status_code == 404 else response

    return middleware


FALLING_BACK = f"{__name__}.falling_back"
BETWEEN = {
    "nothing": (),
    "sync": (f"{__name__}.between",),
    "async": (f"{__name__}.between_async",),
    "both": (f"{__name__}.between_async", f"{__name__}.between"),
}
FAILING = f"{__name__}.failing"
