"""
The HTTP API of a registry as URL patterns of Django.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.http import Http404, HttpResponse, HttpResponseNotAllowed
from django.urls import re_path
from django.views.decorators.csrf import csrf_exempt

from idlanyard._policy.peers import Everyone
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._http._drive import check_sync, drive_request, drive_request_async
from idlanyard.registry._http._environ import (
    headers_of,
    is_chunked,
    is_text,
    length_fault,
    read_past,
)
from idlanyard.registry._http._request import Handling
from idlanyard.registry._http._routes import match_routes
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry.http import Authorize, OnInput, Reply, SessionsHandler

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase
    from django.urls import URLPattern

__all__ = ["urlpatterns"]


def urlpatterns(
    registry: SessionRegistry | AsyncSessionRegistry,
    *,
    on_input: OnInput | None = None,
    authorize: Authorize | Everyone | None = None,
    max_body: int = 65_536,
) -> list[URLPattern]:
    """
    Return the HTTP API as patterns: ``path("api/v1/", include(urlpatterns(...)))``.

    Routes and options are those of ``SessionsHandler``. Other paths and
    methods have Django's own answers. ``SessionRequest.framework_request`` is
    Django's request, with its ``user`` and ``session``.

    The views need no CSRF token: they take bodies with the Content-Type of
    JSON only, and no form of another site can send these.

    Args:
        registry: the registry. With a ``SessionRegistry`` the views are
            sync, for WSGI and ASGI; with an ``AsyncSessionRegistry`` they are
            async, for ASGI only.
        on_input: answers input to a session; a plain function, or async with
            an ``AsyncSessionRegistry``.
        authorize: decides about each request; plain or async in the same way.
        max_body: the most bytes of a body.

    Raises:
        TypeError: ``authorize`` is missing, an option has a wrong type, or a
            function is async beside a ``SessionRegistry``.
        PolicyError: ``max_body`` is no number of bytes.
    """
    view: Callable[..., Any]
    if isinstance(registry, AsyncSessionRegistry):
        build = _async_view
    else:
        check_sync(registry, on_input, authorize)
        build = _sync_view
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    view = csrf_exempt(build(handler))
    return [re_path(r"^session/(?P<rest>.+)\Z", view)]


def _sync_view(handler: SessionsHandler) -> Callable[..., HttpResponseBase]:
    def session(request: HttpRequest, rest: str) -> HttpResponseBase:
        handling = _begin(handler, request, rest)
        if isinstance(handling, HttpResponse):
            return handling
        return _response_of(drive_request(handling, request))

    return session


def _async_view(handler: SessionsHandler) -> Callable[..., Any]:
    async def session(request: HttpRequest, rest: str) -> HttpResponseBase:
        if isinstance(request, WSGIRequest):
            raise ImproperlyConfigured(
                "an AsyncSessionRegistry needs ASGI: under WSGI, and with Django's test Client, "
                "write urlpatterns(SessionRegistry.open(...), ...)"
            )
        handling = _begin(handler, request, rest)
        if isinstance(handling, HttpResponse):
            return handling
        # Django's database connections belong to a thread: functions share that of sync views.
        run = _run_in_request_thread
        reply = await drive_request_async(handling, request, run_verb=run, run_function=run)
        return _response_of(reply)

    return session


async def _run_in_request_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await sync_to_async(function, thread_sensitive=True)(*arguments)


def _begin(
    handler: SessionsHandler, request: HttpRequest, rest: str
) -> Handling[Reply] | HttpResponse:
    """
    Return the handling of a request, or the response to one that is refused before.
    """
    routes = match_routes(f"/session/{rest}", takes_input=handler.takes_input)
    if not routes or not _is_text(request):
        raise Http404
    found = routes.get(request.method or "")
    if found is None:
        return HttpResponseNotAllowed(sorted(routes))
    route, session_id = found
    body: bytes | int | None = b""
    if route.has_body:
        body = _body_of(request, handler.max_body)
    if isinstance(body, int):
        return HttpResponse(status=body)
    return handler.handle(route.action, session_id, headers_of(request.META), body)


def _is_text(request: HttpRequest) -> bool:
    """
    Return whether the path was sent in UTF-8; Django or the server replaces other bytes.
    """
    if isinstance(request, WSGIRequest):
        raw = request.META.get("RAW_URI") or request.META.get("REQUEST_URI")
        return is_text(request.path_info, raw, broken="%")
    scope: Any = getattr(request, "scope", {})
    return is_text(request.path_info, scope.get("raw_path"), broken="\N{REPLACEMENT CHARACTER}")


def _body_of(request: HttpRequest, most: int) -> bytes | int | None:
    """
    Return the body, ``None`` if it has more than *most* bytes, or the status that refuses it.
    """
    stream: Any = request
    length = None
    if isinstance(request, WSGIRequest):
        fault = length_fault(request.META)
        if fault is not None:
            return fault
        if is_chunked(request.META):
            # Django reads no body without a declared length.
            stream = request.META["wsgi.input"]
        else:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
    if length is not None and length > most:
        return None
    try:
        body = read_past(stream, most)
    except Exception:
        # Besides Django's UnreadablePostError, servers raise errors of their own for
        # broken chunks, such as gunicorn 27 its ParseException.
        return 400
    if len(body) > most:
        return None
    return 400 if length is not None and len(body) < length else body


def _response_of(reply: Reply) -> HttpResponse:
    return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
