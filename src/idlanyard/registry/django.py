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
from idlanyard.registry._http._conversation import check_waits, converse, converse_async
from idlanyard.registry._http._environ import (
    headers_of,
    is_chunked,
    is_text,
    length_fault,
    read_past,
)
from idlanyard.registry._http._session_request import READS_BODY, Asking, routes_at
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
    Return the API as patterns: ``path("api/v1/", include(urlpatterns(...)))``.

    Its routes are ``POST session/create``, ``GET``, ``PATCH`` and ``DELETE
    session/{id}``, and ``POST session/{id}/input`` where there is an
    ``on_input``. Whatever is none of them has Django's own answer. The
    request is in ``SessionRequest.framework_request``, with its ``user`` and
    ``session``.

    The views ask for no CSRF token: they take JSON that says so by its
    Content-Type, and no form of another site can send that.

    Args:
        registry: the sessions. With a ``SessionRegistry`` the views are plain
            ones, for WSGI and ASGI; with an ``AsyncSessionRegistry`` they are
            async ones, for ASGI only.
        on_input: ``on_input(record, body)`` returns the reply to an input, as
            JSON has it. The session is bound meanwhile.
        authorize: gets a ``SessionRequest`` and returns ``True`` for callers
            who may, or for a create a ``Grant``. ``EVERYONE`` spells out that
            nobody is checked. Both are plain functions; with an
            ``AsyncSessionRegistry`` they may be async.
        max_body: the most bytes of a body; more are answered 413.

    Raises:
        TypeError: ``authorize`` is missing, one of them is something else, or
            is async beside a ``SessionRegistry``.
        PolicyError: ``max_body`` is no number of bytes.
    """
    view: Callable[..., Any]
    if isinstance(registry, AsyncSessionRegistry):
        build = _awaiting_view
    else:
        check_waits(registry, on_input, authorize)
        build = _waiting_view
    handler = SessionsHandler(registry, on_input=on_input, authorize=authorize, max_body=max_body)
    view = csrf_exempt(build(handler))
    return [re_path(r"^session/(?P<rest>.+)\Z", view)]


def _waiting_view(handler: SessionsHandler) -> Callable[..., HttpResponseBase]:
    def session(request: HttpRequest, rest: str) -> HttpResponseBase:
        begun = _begun(handler, request, rest)
        if isinstance(begun, HttpResponse):
            return begun
        return _response(converse(begun, request))

    return session


def _awaiting_view(handler: SessionsHandler) -> Callable[..., Any]:
    async def session(request: HttpRequest, rest: str) -> HttpResponseBase:
        if isinstance(request, WSGIRequest):
            raise ImproperlyConfigured(
                "an AsyncSessionRegistry needs ASGI: under WSGI, and with Django's test Client, "
                "write urlpatterns(SessionRegistry.open(...), ...)"
            )
        begun = _begun(handler, request, rest)
        if isinstance(begun, HttpResponse):
            return begun
        # Plain functions use the database as plain views do, in the request's own thread.
        run = _in_the_thread_of_the_request
        return _response(await converse_async(begun, request, run_verb=run, run_function=run))

    return session


async def _in_the_thread_of_the_request(function: Callable[..., Any], *arguments: Any) -> Any:
    return await sync_to_async(function, thread_sensitive=True)(*arguments)


def _begun(
    handler: SessionsHandler, request: HttpRequest, rest: str
) -> Asking[Reply] | HttpResponse:
    """
    Return the conversation about a request, or the response to one that begins none.
    """
    routes = routes_at(f"/session/{rest}", takes_input=handler.takes_input)
    if not routes or not _is_text(request):
        raise Http404
    found = routes.get(request.method or "")
    if found is None:
        return HttpResponseNotAllowed(sorted(routes))
    action, session_id = found
    body: bytes | int | None = b""
    if action in READS_BODY:
        body = _body_of(request, handler.max_body)
    if isinstance(body, int):
        return HttpResponse(status=body)
    return handler.handle(action, session_id, headers_of(request.META), body)


def _is_text(request: HttpRequest) -> bool:
    """
    Return whether the path is as it was sent; for broken bytes Django or the server wrote others.
    """
    if isinstance(request, WSGIRequest):
        raw = request.META.get("RAW_URI") or request.META.get("REQUEST_URI")
        return is_text(request.path_info, raw, broken="%")
    scope: Any = getattr(request, "scope", {})
    return is_text(request.path_info, scope.get("raw_path"), broken="\N{REPLACEMENT CHARACTER}")


def _body_of(request: HttpRequest, most: int) -> bytes | int | None:
    """
    Return the body, ``None`` where it has more than *most* bytes, or the status that refuses it.
    """
    stream: Any = request
    length = None
    if isinstance(request, WSGIRequest):
        fault = length_fault(request.META)
        if fault is not None:
            return fault
        if is_chunked(request.META):
            # Django reads no body whose length is not declared.
            stream = request.META["wsgi.input"]
        else:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
    if length is not None and length > most:
        return None
    try:
        body = read_past(stream, most)
    except Exception:
        # Besides Django's UnreadablePostError, servers raise errors of their own for
        # chunks that are none, such as gunicorn 27 its ParseException.
        return 400
    if len(body) > most:
        return None
    return 400 if length is not None and len(body) < length else body


def _response(reply: Reply) -> HttpResponse:
    return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
