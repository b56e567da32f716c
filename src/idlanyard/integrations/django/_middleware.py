"""
``SessionContextMiddleware``: the first line of ``MIDDLEWARE``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.state import attach_to_error, bound, reset_binding
from idlanyard._decision.awaited_headers import check_sync_headers
from idlanyard._decision.known_sessions import check_sync_admission
from idlanyard._decision.reporting import report_bound
from idlanyard._policy.policy import checked_policy
from idlanyard.exceptions import PolicyError
from idlanyard.integrations.django._lines import ERROR, answers_last, log_error, log_error_async
from idlanyard.integrations.django._requests import (
    ASGIRequests,
    WSGIRequests,
    admit_request,
    admit_request_async,
    verify_headers,
)
from idlanyard.integrations.django._responses import keep_bound
from idlanyard.integrations.django._settings import (
    NAME,
    policy_from_settings,
    settings_without_effect,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from idlanyard._binding.state import RequestIDs

    Requests = WSGIRequests | ASGIRequests
    Kinds = tuple[WSGIRequests, ASGIRequests]

# A line of MIDDLEWARE that is not async makes those before it sync, under ASGI too.
_REMEDY: Final = (
    "write verify=async_to_sync(...) with the function of asgiref.sync, or leave out the lines of "
    "MIDDLEWARE that are not async"
)


class SessionContextMiddleware:
    """
    Bind session, user and tenant IDs for each request.

    Put it first in ``MIDDLEWARE``, so that every response has the echo, and
    every line that Django logs about a response has the IDs. The rules are
    ``settings.IDLANYARD``: a mapping of the fields of ``Policy`` in capitals,
    or a ``Policy``; without it, ``Policy.from_env()``. The request has
    ``request.session_context``, which follows ``identify``.

    Args:
        get_response: the next layer, sync or async, which Django passes.

    Raises:
        ImproperlyConfigured: the settings describe no policy.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        # asgiref chooses the function by the version of Python.
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        idle = settings_without_effect()
        if idle is not None:
            _failures.LOGGER.warning("idlanyard: %s", idle)
        self._answers_last = answers_last(type(self))
        self._kinds: Kinds | None = _compile_policies(self._is_async)
        if self._is_async:
            markcoroutinefunction(self)
        # Tests change settings while the application runs. The signal refers to us weakly.
        setting_changed.connect(self._forget)

    def __call__(self, request: Any) -> Any:
        """
        Serve one request.
        """
        if self._is_async:
            return self._serve_async(request)
        kinds = self._kinds or self._compile()
        requests = kinds[1] if hasattr(request, "scope") else kinds[0]
        inner, nested, refusal = requests.open(request)
        known_sessions = requests.known_sessions
        if known_sessions is not None and not nested and refusal is None:
            refusal = admit_request(requests, request, inner, known_sessions)
        if refusal is not None:
            response = requests.responses.refuse(refusal, inner)
            if self._answers_last and not nested:
                log_error(request, response, inner)
            return response
        if nested:
            return self.get_response(request)
        method = request.method
        token = bound.set(inner)
        try:
            if events.subscribers:
                report_bound(inner)
            response = self.get_response(request)
            if response.status_code >= ERROR and self._answers_last:
                log_error(request, response, inner)
            response = requests.responses.write_echo(method, response, inner)
            _await_end(requests, request, response, inner)
            return response
        except BaseException as error:
            _fail_request(inner, error)
            raise
        finally:
            reset_binding(token)

    async def _serve_async(self, request: Any) -> Any:
        kinds = self._kinds or self._compile()
        requests = kinds[1] if hasattr(request, "scope") else kinds[0]
        outcomes = None
        if requests.awaited_headers is not None:
            outcomes = await verify_headers(requests.awaited_headers, requests, request)
        inner, nested, refusal = requests.open(request, outcomes)
        known_sessions = requests.known_sessions
        if known_sessions is not None and not nested and refusal is None:
            refusal = await admit_request_async(requests, request, inner, known_sessions)
        if refusal is not None:
            response = requests.responses.refuse(refusal, inner)
            if self._answers_last and not nested:
                await log_error_async(request, response, inner)
            return response
        if nested:
            return await self.get_response(request)
        method = request.method
        token = bound.set(inner)
        try:
            if events.subscribers:
                report_bound(inner)
            response = await self.get_response(request)
            if response.status_code >= ERROR and self._answers_last:
                await log_error_async(request, response, inner)
            response = requests.responses.write_echo(method, response, inner)
            _await_end(requests, request, response, inner)
            return response
        except BaseException as error:
            _fail_request(inner, error)
            raise
        finally:
            reset_binding(token)

    def _compile(self) -> Kinds:
        kinds = self._kinds = _compile_policies(self._is_async)
        return kinds

    def _forget(self, *, setting: str, **_: Any) -> None:
        if setting == NAME:
            self._kinds = None


def _compile_policies(is_async: bool) -> Kinds:
    rules = policy_from_settings()
    if not is_async:
        try:
            check_sync_admission(checked_policy(rules))
            check_sync_headers(checked_policy(rules), _REMEDY)
        except PolicyError as error:
            raise ImproperlyConfigured(f"{NAME}: {error}") from error
    return WSGIRequests(rules), ASGIRequests(rules)


def _await_end(requests: Requests, request: Any, response: Any, inner: RequestIDs) -> None:
    """
    End the request now, or when a streaming response is closed.
    """
    if response.streaming:
        keep_bound(response, inner, partial(_end_request, requests, request, inner))
    else:
        _end_request(requests, request, inner)


def _end_request(requests: Requests, request: Any, inner: RequestIDs) -> None:
    inner.open = False
    if inner.echo is None:
        requests.publish(request, inner)


def _fail_request(inner: RequestIDs, error: BaseException) -> None:
    inner.open = False
    attach_to_error(error, inner)
