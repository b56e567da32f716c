"""
The ASGI middleware: unpack the request, decide on its IDs, bind them, pack the response.
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
from idlanyard._decision.known_sessions import make_known_sessions
from idlanyard._decision.plan import CompiledPolicy, compile_policy
from idlanyard._decision.protocols import ASGI, ASGI_KEY, Pair, check_application
from idlanyard._decision.reporting import report_bound, report_rejections
from idlanyard._decision.resolve import Refusal, find_open_ids, resolve
from idlanyard._decision.response import add_echo, build_refusal
from idlanyard._policy.policy import Policy, refuse_options

__all__ = ["SessionContextMiddleware"]

KEY: Final = ASGI_KEY

# Loose on purpose: stricter aliases are rejected by one framework or another.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)
# Unless "more_body" is set, these end a response. A push begins another request, which
# hypercorn 0.18 starts from inside the call.
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
_NO_EDITS: Final[tuple[tuple[()], list[Pair]]] = (), []
_POLICY_VIOLATION: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
_UNAVAILABLE: Final = 503


class SessionContextMiddleware:
    """
    Bind session, user and tenant IDs for each HTTP request and WebSocket.

    Put it outermost, so that every response has the echo. Other scope types
    are passed on untouched.

    Args:
        app: any ASGI application.
        policy: the rules; by default ``Policy.from_env()``.

    Raises:
        PolicyError: the environment describes no policy.
        TypeError: *app* is not an ASGI application, *policy* is not a ``Policy``,
            or options of ``Policy`` are given here.
    """

    __slots__ = ("_known_sessions", "_mark", "_plan", "_watched", "app")

    app: ASGIApp

    @refuse_options("SessionContextMiddleware(app, {})")
    def __init__(self, app: ASGIApp, policy: Policy | None = None) -> None:
        check_application(app, "ASGI")
        self.app = app
        self._plan = compile_policy(policy, ASGI)
        self._watched = frozenset(self._plan.watched)
        self._known_sessions = make_known_sessions(self._plan)
        self._mark = find_coroutine_mark()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve one connection.
        """
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        plan, known_sessions = self._plan, self._known_sessions
        lines: Any = scope.get("headers")
        # The protocol allows any iterable, and any iterable for each pair.
        headers: list[Pair] = lines if lines.__class__ is list else [*map(tuple, lines or ())]
        watched = self._watched
        found: list[Pair] = []
        for pair in headers:
            if pair[0] in watched:
                found.append(pair)
        # Looked up by our key only: the IDs that are bound here may be another request's, since
        # servers start the requests of a connection in one Context (Kludex/uvicorn#2167).
        outer = find_open_ids(scope[KEY]) if KEY in scope else None
        inner, edits, refusal, rejected = resolve(plan, found, scope, outer)
        if rejected:
            report_rejections(plan, scope, inner, rejected)
        if known_sessions is not None and outer is None and refusal is None:
            edits, refusal = await known_sessions.admit_async(scope, inner, edits)
        if refusal is not None:
            await _refuse_request(plan, scope, receive, send, refusal, inner)
            return
        removed, added = edits or _NO_EDITS
        kept = [pair for pair in headers if pair[0] not in removed] if removed else headers
        # A new list in every case: servers go on writing into theirs, and a task that
        # outlives the request reads this one.
        scope["headers"] = kept + added
        if outer is not None:
            await self.app(scope, receive, send)
            return
        scope[KEY] = inner
        outside = get_binding()
        token = bound.set(inner)
        try:
            if events.subscribers:
                report_bound(inner)
            await self.app(
                scope,
                _receive_outside(receive, outside),
                _wrap_send(plan, inner, scope, send, outside, self._mark),
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


def _receive_outside(receive: Any, outside: Binding) -> Any:
    async def receive_outside() -> Any:
        # The server continues to read the connection from inside this call, and asyncio
        # runs the callbacks that it registers there in the current Context.
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


def _wrap_send(
    plan: CompiledPolicy,
    inner: RequestIDs,
    scope: Any,
    send: Any,
    outside: Binding,
    mark: dict[str, Any],
) -> Any:
    # Read before the application, which may change it: caches saw this one.
    method = scope.get("method", "GET")

    def send_echoed(message: Any) -> Any:
        # Most messages are parts of a body, which need no more than this comparison.
        if message.get("more_body"):
            return send(message)
        kind = message["type"]
        if kind in _STARTS:
            return send(_add_echo(plan, inner, method, message))
        if kind in _LAST:
            # The server may start the next request of the connection from inside this call.
            return _send_in(send, message, outside)
        return send(message)

    # A plain function is twice as fast per chunk, but adapters check whether it is async.
    send_echoed.__dict__ = mark
    return send_echoed


def _add_echo(plan: CompiledPolicy, inner: RequestIDs, method: str, message: Any) -> Any:
    try:
        pairs = plan.echo_pairs(inner.values) if inner.echo is None else inner.echo
        if not pairs:
            return message
        # A message may lack its headers, and an accepted WebSocket has no status.
        status = message["status"] if "status" in message else 200
        headers = message["headers"] if "headers" in message else ()
        if headers.__class__ is not list:
            # An iterator can be read only once: the list is sent even if the echo fails.
            message = {**message, "headers": [*headers]}
            headers = message["headers"]
        # No cache stores a handshake.
        method = "" if message["type"] == "websocket.accept" else method
        return {**message, "headers": add_echo(plan, method, status, headers, pairs)}
    except Exception as error:
        _failures.report_failure("echo", error)
        return message


async def _refuse_request(
    plan: CompiledPolicy, scope: Any, receive: Any, send: Any, refusal: Refusal, inner: RequestIDs
) -> None:
    """
    Answer a refused request: with a problem, or by never accepting the WebSocket.
    """
    pairs = plan.echo_pairs(inner.values)
    status, _, headers, body = build_refusal(plan, refusal, pairs)
    prefix = "http.response"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            code = _TRY_AGAIN_LATER if status == _UNAVAILABLE else _POLICY_VIOLATION
            await _send_in(send, {"type": "websocket.close", "code": code}, inner)
            return
        prefix = "websocket.http.response"
    # With the IDs bound, since servers write the access line from inside this call.
    start = {"type": f"{prefix}.start", "status": status, "headers": headers}
    await _send_in(send, start, inner)
    body = b"" if scope.get("method") == "HEAD" else body
    # "more_body" is optional, but some test clients require it.
    await send({"type": f"{prefix}.body", "body": body, "more_body": False})
