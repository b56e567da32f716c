"""
The WSGI middleware: unpack, call ``resolve``, pack.
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
from idlanyard._decision.admission import admitted_waiting, check_waits
from idlanyard._decision.case import Refusal
from idlanyard._decision.claims import Pair
from idlanyard._decision.environ import edit, publish
from idlanyard._decision.plan import Plan, plan_for
from idlanyard._decision.protocols import WSGI, WSGI_KEY, check_application
from idlanyard._decision.reporting import announce, report
from idlanyard._decision.resolve import find_enclosing, resolve, resolve_nested
from idlanyard._decision.response import echoed, problem
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
        policy: the rules; left out, ``Policy.from_env()``.

    Raises:
        PolicyError: the environment describes no policy, or the policy's
            ``Admission`` has a function that is awaited.
        TypeError: *app* is no application of this protocol, *policy* is not a
            ``Policy``, or its options are given here, which ``Policy(...)``
            takes.
    """

    __slots__ = ("_keys", "_plan", "app")

    app: WSGIApplication

    @refuse_options("SessionContextMiddleware(app, {})")
    def __init__(self, app: WSGIApplication, policy: Policy | None = None) -> None:
        check_application(app, "WSGI")
        self.app = app
        self._plan = plan_for(policy, WSGI)
        check_waits(self._plan.policy)
        self._keys = tuple(self._plan.lines)

    def __call__(  # noqa: C901, PLR0912 - one frame, since every request passes here
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """
        Serve one request.
        """
        plan = self._plan
        found: list[Pair] = []
        for key in self._keys:
            if key in environ:
                found.append((key, environ[key]))
        if KEY in environ or get_binding() is not UNBOUND:
            outer = find_enclosing(plan, environ)
            if outer is not None:
                return self._nested(environ, start_response, found, outer)
        inner, edits, refusal, rejected = resolve(plan, found, environ)
        if rejected:
            report(plan, environ, inner, rejected)
        if plan.admission is not None and refusal is None:
            edits, refusal = admitted_waiting(plan, plan.admission, environ, inner, edits)
        if refusal is not None:
            return _refuse(plan, environ, start_response, refusal, inner)
        if edits is not None:
            edit(environ, edits)
        environ[KEY] = inner
        for name, value in zip(plan.policy.environ_keys, inner.values):  # noqa: B905 - IDs come first
            if value is not None:
                environ[name] = value
            elif name in environ:
                del environ[name]
        token = bound.set(inner)
        try:
            if events.subscribers:
                announce(inner)
            body = self.app(environ, _echoing(plan, environ, inner, start_response))
            if body.__class__ in _WHOLE or _is_file(environ, body):
                inner.open = False
                if inner.echo is None:
                    publish(environ, inner.policy, inner.values)
                return body
            return _Body(body, environ, inner)
        except BaseException as error:
            inner.open = False
            attach_to_error(error, inner)
            raise
        finally:
            reset_binding(token)

    def _nested(
        self, environ: WSGIEnvironment, start_response: Any, found: list[Pair], outer: RequestIDs
    ) -> Iterable[bytes]:
        """
        Serve inside another middleware of ours: its scope is the request's (R15).
        """
        edits, refusal, rejected = resolve_nested(self._plan, found, outer, environ)
        if refusal is not None:
            report(self._plan, environ, outer, rejected)
            return _refuse(self._plan, environ, start_response, refusal, outer)
        if edits is not None:
            edit(environ, edits)
        return self.app(environ, start_response)


class _Body:
    """
    A body whose every step has the request's binding, and the server none (R4, S28).
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
            publish(self._environ, inner.policy, inner.values)


def _is_file(environ: WSGIEnvironment, body: Any) -> bool:
    """
    Say whether the body is the server's own, which it must get back to send fast.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return type(body) is wrapper
    # uWSGI's is a function that returns the file itself.
    return wrapper is not None and isinstance(body, io.IOBase)


def _echoing(
    plan: Plan, environ: WSGIEnvironment, inner: RequestIDs, start_response: StartResponse
) -> StartResponse:
    # Before the application, which may change it: caches saw this one.
    method = environ.get("REQUEST_METHOD", "GET")

    def start_echoed(status: str, headers: list[Pair], exc_info: Any = None) -> Any:
        try:
            pairs = inner.echo
            if pairs is None:
                pairs = plan.echo_pairs(inner.values)
                publish(environ, inner.policy, inner.values)
            if pairs:
                headers = echoed(plan, method, _code(status[:3]), headers, pairs)
        except Exception as error:
            _failures.report_failure("echo", error)
        if exc_info is None:
            return start_response(status, headers)
        return start_response(status, headers, exc_info)

    return start_echoed


@lru_cache(maxsize=256)
def _code(digits: str) -> int:
    return int(digits)


def _refuse(
    plan: Plan,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    refusal: Refusal,
    inner: RequestIDs,
) -> list[bytes]:
    """
    Answer the request with a problem (R8).
    """
    code, phrase, headers, body = problem(plan, refusal, plan.echo_pairs(inner.values))
    publish(environ, inner.policy, inner.values)
    start_response(f"{code} {phrase}", headers)
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]
