"""
The WSGI middleware: unpack the request, decide on its IDs, bind them, pack the response.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.state import (
    UNBOUND,
    Binding,
    RequestIDs,
    attach_to_error,
    bound,
    get_binding,
    reset_binding,
)
from idlanyard._decision.awaited_headers import check_sync_headers
from idlanyard._decision.compiled_resolve import compile_resolve
from idlanyard._decision.environ import edit_headers, find_enclosing_ids, publish_ids
from idlanyard._decision.known_sessions import check_sync_admission, make_known_sessions
from idlanyard._decision.plan import CompiledPolicy, compile_policy
from idlanyard._decision.protocols import WSGI, WSGI_KEY, Pair, check_application
from idlanyard._decision.reporting import report_bound, report_rejections
from idlanyard._decision.resolve import Refusal, resolve
from idlanyard._decision.response import add_echo, build_refusal
from idlanyard._policy.policy import Policy, refuse_options

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["SessionContextMiddleware"]

KEY: Final = WSGI_KEY
_WHOLE: Final = (list, tuple)


class SessionContextMiddleware:
    """
    Bind session, user and tenant IDs for each request.

    Put it outermost, so that every response has the echo. For access logs,
    ``environ["idlanyard.session_id"]`` and so on are set.

    Args:
        app: any WSGI application.
        policy: the rules; by default ``Policy.from_env()``.

    Raises:
        PolicyError: the environment describes no policy, or the policy's
            ``Admission`` or a ``Header(verify=...)`` has an async function.
        TypeError: *app* is not a WSGI application, *policy* is not a ``Policy``,
            or options of ``Policy`` are given here.
    """

    __slots__ = ("_known_sessions", "_plan", "_resolve", "app")

    app: WSGIApplication

    @refuse_options("SessionContextMiddleware(app, {})")
    def __init__(self, app: WSGIApplication, policy: Policy | None = None) -> None:
        check_application(app, "WSGI")
        self.app = app
        self._plan = compile_policy(policy, WSGI)
        check_sync_admission(self._plan.policy)
        check_sync_headers(self._plan.policy)
        self._known_sessions = make_known_sessions(self._plan)
        self._resolve = compile_resolve(self._plan)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Serve one request.
        """
        plan, known_sessions = self._plan, self._known_sessions
        may_be_nested = KEY in environ or get_binding() is not UNBOUND
        outer = find_enclosing_ids(plan, environ) if may_be_nested else None
        inner, edits, refusal, rejected = (
            self._resolve((), environ)
            if outer is None
            else resolve(plan, plan.find_lines(environ, plan.watched), environ, outer)
        )
        if rejected:
            report_rejections(plan, environ, inner, rejected)
        if known_sessions is not None and outer is None and refusal is None:
            edits, refusal = known_sessions.admit(environ, inner, edits)
        if refusal is not None:
            return _refuse_request(plan, environ, start_response, refusal, inner)
        if edits is not None:
            edit_headers(environ, edits)
        if outer is not None:
            return self.app(environ, start_response)
        environ[KEY] = inner
        publish_ids(environ, plan.policy, inner.values)
        token = bound.set(inner)
        try:
            if events.subscribers:
                report_bound(inner)
            body = self.app(environ, _wrap_start(plan, environ, inner, start_response))
            if body.__class__ in _WHOLE or _is_file(environ, body):
                inner.open = False
                if inner.echo is None:
                    publish_ids(environ, inner.policy, inner.values)
                return body
            return _Body(body, environ, inner)
        except BaseException as error:
            inner.open = False
            attach_to_error(error, inner)
            raise
        finally:
            reset_binding(token)


class _Body:
    """
    A body that is iterated with the request's IDs bound, and with none between the steps.
    """

    __slots__ = ("_binding", "_environ", "_inner", "_iterable", "_next")

    def __init__(self, iterable: Iterable[bytes], environ: Any, inner: RequestIDs) -> None:
        self._iterable = iterable
        self._next = iter(iterable).__next__
        self._environ = environ
        self._inner = inner
        self._binding: Binding = get_binding()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = bound.set(self._binding)
        try:
            return self._next()
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._end()
            attach_to_error(error, self._inner)
            raise
        finally:
            self._binding = get_binding()
            # Set in this very call: the Context is the same.
            bound.reset(token)

    def close(self) -> None:
        close = getattr(self._iterable, "close", None)
        token = bound.set(self._binding)
        try:
            if close is not None:
                close()
        except BaseException as error:
            attach_to_error(error, self._inner)
            raise
        finally:
            self._end()
            reset_binding(token)

    def _end(self) -> None:
        inner = self._inner
        inner.open = False
        if inner.echo is None:
            publish_ids(self._environ, inner.policy, inner.values)


def _is_file(environ: WSGIEnvironment, body: Any) -> bool:
    """
    Return whether the body is the server's own type, which it sends without iterating.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return type(body) is wrapper
    # uWSGI's wrapper is a function that returns the file itself.
    return wrapper is not None and isinstance(body, io.IOBase)


def _wrap_start(
    plan: CompiledPolicy, environ: WSGIEnvironment, inner: RequestIDs, start_response: StartResponse
) -> StartResponse:
    # Read before the application, which may change it: caches saw this one.
    method = environ.get("REQUEST_METHOD", "GET")

    def start_echoed(status: str, headers: list[Pair], exc_info: Any = None) -> Any:
        try:
            pairs = inner.echo
            if pairs is None:
                pairs = plan.echo_pairs(inner)
                publish_ids(environ, inner.policy, inner.values)
            if pairs:
                if headers.__class__ is not list:
                    # An iterator can be read only once: the list is sent even if the echo fails.
                    headers = [*headers]
                headers = add_echo(plan, method, _parse_status(status), headers, pairs)
            if plan.cookie is not None:
                plan.cookie.note_start(inner, headers)
        except Exception as error:
            _failures.report_failure("echo", error)
        if exc_info is None:
            return start_response(status, headers)
        return start_response(status, headers, exc_info)

    return start_echoed


@lru_cache(maxsize=256)
def _parse_status(status: str) -> int:
    return int(status[:3])


def _refuse_request(
    plan: CompiledPolicy,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    refusal: Refusal,
    inner: RequestIDs,
) -> list[bytes]:
    """
    Answer a refused request with a problem.
    """
    pairs = plan.echo_pairs(inner)
    code, phrase, headers, body = build_refusal(plan, refusal, pairs)
    publish_ids(environ, inner.policy, inner.values)
    start_response(f"{code} {phrase}", headers)
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]
