"""
``SessionContextMiddleware``: the first line of ``MIDDLEWARE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed

from idlanyard import _events
from idlanyard._binding import attach, bound, put_back
from idlanyard._notices import announce
from idlanyard._steps import is_coroutine_function, mark_coroutine_function
from idlanyard.integrations.django.requests import ASGIRequests, WSGIRequests, opened
from idlanyard.integrations.django.responses import echo, keep_bound, refusal_response
from idlanyard.integrations.django.settings import NAME, policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from idlanyard._binding import Node

    Kinds = tuple[WSGIRequests, ASGIRequests]


class SessionContextMiddleware:
    """
    Bind session, user and tenant IDs for each request.

    Put it first in ``MIDDLEWARE``, so that every response has the echo. The
    rules are ``settings.IDLANYARD``: a mapping of the fields of ``Policy`` in
    capitals, or a ``Policy``; without it, ``Policy.from_env()``. The request
    has ``request.session_context``, which follows ``identify``.

    Args:
        get_response: what Django hands over, sync or async.

    Raises:
        ImproperlyConfigured: the settings describe no policy.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._kinds: Kinds | None = _compiled()
        self._is_async = is_coroutine_function(get_response)
        if self._is_async:
            mark_coroutine_function(self)
        # Tests change settings while the application stands; the reference is weak.
        setting_changed.connect(self._forget)

    def __call__(self, request: Any) -> Any:
        """
        Serve one request.
        """
        if self._is_async:
            return self._serve_async(request)
        serving = _Serving(self._requests(request), request)
        if serving.refused is not None:
            return serving.refused
        with serving:
            return serving.finished(self.get_response(request))

    async def _serve_async(self, request: Any) -> Any:
        serving = _Serving(self._requests(request), request)
        if serving.refused is not None:
            return serving.refused
        with serving:
            return serving.finished(await self.get_response(request))

    def _requests(self, request: Any) -> WSGIRequests | ASGIRequests:
        kinds = self._kinds
        if kinds is None:
            kinds = self._kinds = _compiled()
        return kinds[1] if hasattr(request, "scope") else kinds[0]

    def _forget(self, *, setting: str, **_: Any) -> None:
        if setting == NAME:
            self._kinds = None


def _compiled() -> Kinds:
    rules = policy()
    return WSGIRequests(rules), ASGIRequests(rules)


class _Serving:
    """
    One request, from the decision to the response.
    """

    __slots__ = ("_nested", "_request", "_requests", "_scope", "_token", "refused")

    _token: Token[Node]

    def __init__(self, requests: WSGIRequests | ASGIRequests, request: Any) -> None:
        self._requests = requests
        self._request = request
        self._scope, self._nested, refusal = opened(requests, request)
        self.refused: Any = None
        if refusal is not None:
            pairs = requests.echo(self._scope)
            self.refused = refusal_response(requests.responses, refusal, pairs)

    def __enter__(self) -> None:
        if not self._nested:
            self._token = bound.set(self._scope)
            if _events.subscribers:
                announce(self._scope)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._nested:
            return
        if error is not None:
            self._scope.open = False
            attach(error, self._scope)
        put_back(self._token)

    def finished(self, response: Any) -> Any:
        """
        Return the response with the echo, and its stream with the IDs.
        """
        if self._nested:
            return response
        pairs = self._requests.echo(self._scope)
        if pairs:
            echo(self._requests.responses, response, pairs)
        # No code of the application runs while a file is read.
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            keep_bound(response, self._end)
        else:
            self._end()
        return response

    def _end(self) -> None:
        self._scope.open = False
        if self._scope.echo is None:
            self._requests.publish(self._request, self._scope)
