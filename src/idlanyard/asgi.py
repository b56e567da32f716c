"""
The ASGI middleware: unpack the request, decide on its IDs, bind them, pack the response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.functions import mark_coroutine_function
from idlanyard._binding.state import (
    Binding,
    RequestIDs,
    attach_to_error,
    bound,
    get_binding,
    reset_binding,
)
from idlanyard._decision.awaited_headers import make_awaited_headers, settle_verified
from idlanyard._decision.compiled_resolve import compile_resolve
from idlanyard._decision.known_sessions import make_known_sessions
from idlanyard._decision.plan import CompiledPolicy, compile_policy
from idlanyard._decision.protocols import ASGI, ASGI_KEY, Pair, check_application
from idlanyard._decision.reporting import report_bound, report_rejections
from idlanyard._decision.resolve import Edits, Refusal, find_open_ids, resolve
from idlanyard._decision.response import add_echo, build_refusal
from idlanyard._policy.policy import Policy, refuse_options

__all__ = ["SessionContextMiddleware"]

KEY: Final = ASGI_KEY

# Loose on purpose: stricter aliases are rejected by one framework or another.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

_KINDS: Final = frozenset({"http", "websocket"})
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

    __slots__ = ("_awaited_headers", "_known_sessions", "_must_wait", "_plan", "_resolve", "app")

    app: ASGIApp

    @refuse_options("SessionContextMiddleware(app, {})")
    def __init__(self, app: ASGIApp, policy: Policy | None = None) -> None:
        check_application(app, "ASGI")
        self.app = app
        self._plan = compile_policy(policy, ASGI)
        self._resolve = compile_resolve(self._plan)
        self._awaited_headers = make_awaited_headers(self._plan)
        self._known_sessions = make_known_sessions(self._plan)
        # One look for both in each request.
        self._must_wait = bool(self._awaited_headers or self._known_sessions)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve one connection.
        """
        if scope["type"] not in _KINDS:
            await self.app(scope, receive, send)
            return
        plan = self._plan
        headers: Any = scope.get("headers")
        if headers.__class__ is not list:
            # The protocol allows any iterable, and any iterable for each pair.
            pairs: list[Any] = [*map(tuple, headers or ())]
            headers = scope["headers"] = pairs
        # Looked up by our key only: the IDs that are bound here may be another request's, since
        # servers start the requests of a connection in one Context (Kludex/uvicorn#2167).
        outer = find_open_ids(scope[KEY]) if KEY in scope else None
        if self._must_wait and outer is None:
            # A server may append the request's trailers to its own list meanwhile, and nothing
            # would look at those.
            headers = scope["headers"] = [*headers]
            inner, edits, refusal = await self._wait(headers, scope)
        else:
            inner, edits, refusal, rejected = (
                self._resolve(headers, scope)
                if outer is None
                else resolve(plan, headers, scope, outer)
            )
            if rejected:
                report_rejections(plan, scope, inner, rejected)
        if refusal is not None:
            await _refuse_request(plan, scope, receive, send, refusal, inner)
            return
        removed, added = edits or _NO_EDITS
        if removed:
            headers = [pair for pair in headers if pair[0] not in removed]
        # A new list in every case: servers go on writing into theirs, and a task that
        # outlives the request reads this one.
        scope["headers"] = headers + added
        if outer is not None:
            await self.app(scope, receive, send)
            return
        scope[KEY] = inner
        exchange = _Exchange()
        exchange.plan, exchange.inner, exchange.outside = plan, inner, get_binding()
        # Read before the application, which may change it: caches saw this one.
        exchange.method = scope.get("method", "GET")
        exchange.server_receive, exchange.server_send = receive, send
        token = bound.set(inner)
        try:
            if events.subscribers:
                report_bound(inner)
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            attach_to_error(error, inner)
            raise
        finally:
            inner.open = False
            try:
                bound.reset(token)
            except ValueError:
                pass  # In another Context there is nothing of ours.

    async def _wait(
        self, headers: list[Any], scope: Any
    ) -> tuple[RequestIDs, Edits | None, Refusal | None]:
        """
        Return the IDs of a request, its edits and its refusal, where functions are awaited first.
        """
        outcomes = None
        if self._awaited_headers is not None:
            outcomes = await self._awaited_headers.verify_lines(headers, scope)
        inner, edits, refusal, rejected = (
            # A header that is verified raises a question in any case.
            settle_verified(self._plan, headers, scope, outcomes)
            if outcomes
            else self._resolve(headers, scope)
        )
        if rejected:
            report_rejections(self._plan, scope, inner, rejected)
        if self._known_sessions is not None and refusal is None:
            edits, refusal = await self._known_sessions.admit_async(scope, inner, edits)
        return inner, edits, refusal


class _Exchange:
    """
    The server's side of one request: ``receive`` and ``send`` as the application has them.
    """

    # One object and two methods of it: closures would hold twice the memory.
    __slots__ = ("inner", "method", "outside", "plan", "server_receive", "server_send")

    inner: RequestIDs
    method: str
    outside: Binding
    plan: CompiledPolicy
    server_receive: Any
    server_send: Any

    async def receive(self) -> Any:
        # The server continues to read the connection from inside this call, and asyncio
        # runs the callbacks that it registers there in the current Context.
        token = bound.set(self.outside)
        try:
            return await self.server_receive()
        finally:
            reset_binding(token)

    def send(self, message: Any) -> Any:
        # Most messages are parts of a body, which need no more than this comparison.
        if message.get("more_body"):
            return self.server_send(message)
        kind = message["type"]
        if kind in _STARTS:
            plan, inner = self.plan, self.inner
            try:
                pairs = inner.echo
                if pairs is None:
                    pairs = plan.echo_pairs(inner)
                if pairs:
                    lines = message.get("headers", ())
                    if lines.__class__ is not list:
                        # An iterator can be read only once: the list is sent even if the
                        # echo fails.
                        lines = [*lines]
                        message = {**message, "headers": lines}
                    # An accepted WebSocket has no status, and no cache stores it.
                    method = "" if kind == "websocket.accept" else self.method
                    lines = add_echo(plan, method, message.get("status", 200), lines, pairs)
                    message = {**message, "headers": lines}
                if plan.cookie is not None:
                    plan.cookie.note_start(inner, message.get("headers", ()))
            except Exception as error:
                _failures.report_failure("echo", error)
        elif kind in _LAST:
            # The server may start the next request of the connection from inside this call.
            return _send_in(self.server_send, message, self.outside)
        return self.server_send(message)


# A plain function is twice as fast per chunk, but adapters check whether it is async.
mark_coroutine_function(_Exchange.send)


async def _send_in(send: Any, message: Any, binding: Binding) -> None:
    token = bound.set(binding)
    try:
        await send(message)
    finally:
        # As reset_binding does, without its frame, for every response.
        try:
            bound.reset(token)
        except ValueError:
            pass  # In another Context there is nothing of ours.


async def _refuse_request(
    plan: CompiledPolicy, scope: Any, receive: Any, send: Any, refusal: Refusal, inner: RequestIDs
) -> None:
    """
    Answer a refused request: with a problem, or by never accepting the WebSocket.
    """
    pairs = plan.echo_pairs(inner)
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
