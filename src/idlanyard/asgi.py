"""
The ASGI middleware: unpack, call ``resolve``, pack.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.functions import find_coroutine_mark
from idlanyard._binding.state import (
    Binding,
    RequestIDs,
    attach_to_error,
    bound,
    get_binding,
    reset_binding,
)
from idlanyard._decision.admission import admitted
from idlanyard._decision.case import Refusal
from idlanyard._decision.claims import Pair
from idlanyard._decision.plan import Plan, plan_for
from idlanyard._decision.protocols import ASGI, ASGI_KEY, check_application
from idlanyard._decision.reporting import announce, report
from idlanyard._decision.resolve import find_open, resolve, resolve_nested
from idlanyard._decision.response import echoed, problem
from idlanyard._policy.policy import Policy, refuse_options

__all__ = ["SessionContextMiddleware"]

KEY: Final = ASGI_KEY

# Loose on purpose: stricter aliases are rejected by one framework or another.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)
# Where "more_body" is not set, these end a response, or what the application has to say;
# a push begins a request of its own, as in hypercorn 0.18.
_LAST: Final = frozenset(
    {
        "http.response.body",
        "http.response.pathsend",
        "http.response.push",
        "http.response.trailers",
        "http.response.zerocopysend",
        "websocket.close",
        "websocket.http.response.body",
    }
)
_POLICY_VIOLATION: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
_UNAVAILABLE: Final = 503


class SessionContextMiddleware:
    """
    Bind session, user and tenant IDs for each HTTP request and WebSocket.

    Put it outermost, so that every response has the echo. Other scope types
    pass untouched.

    Args:
        app: any ASGI application.
        policy: the rules; left out, ``Policy.from_env()``.

    Raises:
        PolicyError: the environment describes no policy.
        TypeError: *app* is no application of this protocol, *policy* is not a
            ``Policy``, or its options are given here, which ``Policy(...)``
            takes.
    """

    __slots__ = ("_mark", "_plan", "app")

    app: ASGIApp

    @refuse_options("SessionContextMiddleware(app, {})")
    def __init__(self, app: ASGIApp, policy: Policy | None = None) -> None:
        check_application(app, "ASGI")
        self.app = app
        self._plan = plan_for(policy, ASGI)
        self._mark = find_coroutine_mark()

    async def __call__(  # noqa: C901, PLR0912 - one frame, since every request passes here
        self, scope: Any, receive: Any, send: Any
    ) -> None:
        """
        Serve one connection.
        """
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        plan = self._plan
        lines: Any = scope.get("headers")
        # The protocol allows any iterable, and any iterable for each pair.
        headers: list[Pair] = lines if lines.__class__ is list else [*map(tuple, lines or ())]
        watched = plan.watched
        found: list[Pair] = []
        for pair in headers:
            if pair[0] in watched:
                found.append(pair)
        # Nested by our key only: what is bound here may be another request's, since
        # servers start the requests of a connection in one Context (Kludex/uvicorn#2167).
        if KEY in scope:
            outer = find_open(scope[KEY])
            if outer is not None:
                await self._nested(scope, receive, send, headers, found, outer)
                return
        inner, edits, refusal, rejected = resolve(plan, found, scope)
        if rejected:
            report(plan, scope, inner, rejected)
        if plan.admission is not None and refusal is None:
            edits, refusal = await admitted(plan, plan.admission, scope, inner, edits)
        if refusal is not None:
            await _refuse(plan, scope, receive, send, refusal, inner)
            return
        scope[KEY] = inner
        # A list of our own, for good: servers go on writing into theirs, and a task
        # that outlives the request reads this one.
        if edits is None:
            scope["headers"] = [*headers]
        else:
            gone, added = edits
            scope["headers"] = (plan.without(headers, gone) if gone else headers) + added
        outside = get_binding()
        token = bound.set(inner)
        try:
            if events.subscribers:
                announce(inner)
            await self.app(
                scope,
                _receiving(receive, outside),
                _echoing(plan, inner, scope, send, outside, self._mark),
            )
        except BaseException as error:
            attach_to_error(error, inner)
            raise
        finally:
            inner.open = False
            try:
                bound.reset(token)
            except ValueError:
                pass  # In another Context there is nothing of ours.

    async def _nested(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        headers: list[Pair],
        found: list[Pair],
        outer: RequestIDs,
    ) -> None:
        """
        Serve inside another middleware of ours: its scope is the request's (R15).
        """
        plan = self._plan
        edits, refusal, rejected = resolve_nested(plan, found, outer, scope)
        if refusal is not None:
            report(plan, scope, outer, rejected)
            await _refuse(plan, scope, receive, send, refusal, outer)
            return
        gone, added = edits or ((), [])
        scope["headers"] = plan.without(headers, gone) + added
        await self.app(scope, receive, send)


def _receiving(receive: Any, outside: Binding) -> Any:
    async def receive_outside() -> Any:
        # The server goes on reading the connection from inside this call, and
        # asyncio runs what it registers there in the Context of now.
        token = bound.set(outside)
        try:
            return await receive()
        finally:
            reset_binding(token)

    return receive_outside


async def _send_in(send: Any, message: Any, binding: Binding) -> None:
    token = bound.set(binding)
    try:
        await send(message)
    finally:
        reset_binding(token)


def _echoing(
    plan: Plan, inner: RequestIDs, scope: Any, send: Any, outside: Binding, mark: dict[str, Any]
) -> Any:
    # Before the application, which may change it: caches saw this one.
    method = scope.get("method", "GET")

    def send_echoed(message: Any) -> Any:
        # Most messages are parts of a body: one comparison lets them through.
        if message.get("more_body"):
            return send(message)
        kind = message["type"]
        if kind in _STARTS:
            return send(_with_echo(plan, inner, method, message))
        if kind in _LAST:
            # The server may start the next request of the connection from inside this call.
            return _send_in(send, message, outside)
        return send(message)

    # A plain function is twice as fast per chunk; adapters ask whether it is async.
    send_echoed.__dict__ = mark
    return send_echoed


def _with_echo(plan: Plan, inner: RequestIDs, method: str, message: Any) -> Any:
    try:
        pairs = plan.echo_pairs(inner.values) if inner.echo is None else inner.echo
        if not pairs:
            return message
        # A message may lack its headers, and an accepted WebSocket has no status.
        status = message["status"] if "status" in message else 200
        headers = message["headers"] if "headers" in message else ()
        if headers.__class__ is not list:
            # What can be read but once is sent whole also where the echo fails.
            message = {**message, "headers": [*headers]}
            headers = message["headers"]
        # No cache stores a handshake.
        method = "" if message["type"] == "websocket.accept" else method
        return {**message, "headers": echoed(plan, method, status, headers, pairs)}
    except Exception as error:
        _failures.report_failure("echo", error)
        return message


async def _refuse(
    plan: Plan, scope: Any, receive: Any, send: Any, refusal: Refusal, inner: RequestIDs
) -> None:
    """
    Answer the request: a problem, or a WebSocket that is never accepted (R8).
    """
    pairs = plan.echo_pairs(inner.values)
    status, _, headers, body = problem(plan, refusal, pairs)
    prefix = "http.response"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            code = _TRY_AGAIN_LATER if status == _UNAVAILABLE else _POLICY_VIOLATION
            await _send_in(send, {"type": "websocket.close", "code": code}, inner)
            return
        prefix = "websocket.http.response"
    # Bound, since servers write the access line from inside this call.
    start = {"type": f"{prefix}.start", "status": status, "headers": headers}
    await _send_in(send, start, inner)
    body = b"" if scope.get("method") == "HEAD" else body
    # It may be left out, but not every test client knows that.
    await send({"type": f"{prefix}.body", "body": body, "more_body": False})
