"""
The IDs of a Django request, decided by ``resolve``, and its headers afterwards.

Django has one kind of ``request`` for both protocols. Over ASGI the raw header
lines are read, since ``META`` has joined repeated ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from idlanyard import asgi, wsgi
from idlanyard._binding.state import UNBOUND, RequestContext, get_binding
from idlanyard._decision.awaited_headers import make_awaited_headers, settle_verified
from idlanyard._decision.compiled_resolve import compile_resolve
from idlanyard._decision.environ import edit_headers, find_enclosing_ids, publish_ids
from idlanyard._decision.known_sessions import make_known_sessions
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.reporting import report_rejections
from idlanyard._decision.resolve import find_open_ids, resolve
from idlanyard.integrations.django._paths import ASGI, WSGI
from idlanyard.integrations.django._responses import Responses

if TYPE_CHECKING:
    from idlanyard._binding.state import RequestIDs
    from idlanyard._decision.awaited_headers import AwaitedHeaders, Verified
    from idlanyard._decision.known_sessions import KnownSessions
    from idlanyard._decision.plan import CompiledPolicy
    from idlanyard._decision.protocols import Pair
    from idlanyard._decision.resolve import Edits, Refusal, Resolution
    from idlanyard._policy.policy import Policy

    Opened = tuple[RequestIDs, bool, Refusal | None]
    """
    The IDs of the request, whether they are those of an outer middleware, and the
    refusal or ``None``.
    """


class WSGIRequests:
    """
    Requests whose ``META`` is the server's ``environ``.
    """

    __slots__ = ("_resolve", "awaited_headers", "known_sessions", "plan", "responses")

    def __init__(self, policy: Policy) -> None:
        self.plan = compile_policy(policy, WSGI)
        self.awaited_headers = make_awaited_headers(self.plan)
        self.responses = Responses(self.plan)
        self.known_sessions = make_known_sessions(self.plan)
        self._resolve = compile_resolve(self.plan)

    def find_lines(self, request: Any) -> list[Pair]:
        """
        Return the headers that the plan watches.
        """
        return self.plan.find_lines(request.META, self.plan.watched)

    def find_outer(self, request: Any) -> RequestIDs | None:
        """
        Return the IDs of an outer middleware.
        """
        meta = request.META
        may_be_nested = wsgi.KEY in meta or get_binding() is not UNBOUND
        return find_enclosing_ids(self.plan, meta) if may_be_nested else None

    def open(self, request: Any, outcomes: Verified | None = None) -> Opened:
        """
        Decide the IDs of *request*, and change its headers accordingly.
        """
        plan, meta = self.plan, request.META
        outer = self.find_outer(request)
        if outer is None and not outcomes:
            inner, edits, refusal, rejected = self._resolve((), meta)
        else:
            lines = self.find_lines(request)
            inner, edits, refusal, rejected = _decide(plan, lines, meta, outer, outcomes)
        if rejected:
            report_rejections(plan, meta, inner, rejected)
        if outer is None:
            # Also for a refused request, whose access line reads them.
            publish_ids(meta, inner.policy, inner.values)
            if refusal is None:
                meta[wsgi.KEY] = inner
        if edits is not None and refusal is None:
            edit_headers(meta, edits)
            _forget_headers(request)
        # No IDs are bound for a refused request, but the line that is logged about it has them.
        request.session_context = RequestContext(inner)
        return inner, outer is not None, refusal

    def raw(self, request: Any) -> Any:
        """
        Return the server's own object for the request.
        """
        return request.META

    def show(self, request: Any, edits: Edits) -> None:
        """
        Change the request's headers to the current IDs.
        """
        edit_headers(request.META, edits)
        _forget_headers(request)

    def publish(self, request: Any, inner: RequestIDs) -> None:
        """
        Set the keys of ``environ`` that access logs read.
        """
        publish_ids(request.META, inner.policy, inner.values)


class ASGIRequests:
    """
    Requests made of an ASGI ``scope``.
    """

    __slots__ = ("_resolve", "awaited_headers", "known_sessions", "plan", "responses")

    def __init__(self, policy: Policy) -> None:
        self.plan = compile_policy(policy, ASGI)
        self.awaited_headers = make_awaited_headers(self.plan)
        self.known_sessions = make_known_sessions(self.plan)
        self.responses = Responses(compile_policy(policy, WSGI))
        self._resolve = compile_resolve(self.plan)

    def find_lines(self, request: Any) -> list[Pair]:
        """
        Return the headers, which no server changes any more.
        """
        lines = request.scope["headers"] = _header_lines(request)
        return lines

    def find_outer(self, request: Any) -> RequestIDs | None:
        """
        Return the IDs of an outer middleware.
        """
        return find_open_ids(request.scope.get(asgi.KEY))

    def open(self, request: Any, outcomes: Verified | None = None) -> Opened:
        """
        Decide the IDs of *request*, and change its headers accordingly.
        """
        plan, scope = self.plan, request.scope
        lines, outer = self.find_lines(request), self.find_outer(request)
        if outer is None and not outcomes:
            inner, edits, refusal, rejected = self._resolve(lines, scope)
        else:
            inner, edits, refusal, rejected = _decide(plan, lines, scope, outer, outcomes)
        if rejected:
            report_rejections(plan, scope, inner, rejected)
        if outer is None and refusal is None:
            scope[asgi.KEY] = inner
        if edits is not None and refusal is None:
            self.show(request, edits)
        # No IDs are bound for a refused request, but the line that is logged about it has them.
        request.session_context = RequestContext(inner)
        return inner, outer is not None, refusal

    def raw(self, request: Any) -> Any:
        """
        Return the server's own object for the request.
        """
        return request.scope

    def show(self, request: Any, edits: Edits) -> None:
        """
        Change the request's headers to the current IDs: the raw lines and ``META``.
        """
        removed, added = edits
        scope = request.scope
        kept = [pair for pair in scope["headers"] if pair[0] not in removed]
        scope["headers"] = kept + added
        edit_headers(
            request.META,
            (
                [WSGI.key(key.decode("latin-1")) for key in removed],
                [(WSGI.key(key.decode()), value.decode()) for key, value in added],
            ),
        )
        _forget_headers(request)

    def publish(self, _request: Any, _inner: RequestIDs) -> None:
        """
        Do nothing, since access logs over ASGI do not read the scope.
        """


def _decide(
    plan: CompiledPolicy,
    lines: list[Pair],
    raw: Any,
    outer: RequestIDs | None,
    outcomes: Verified | None,
) -> Resolution:
    """
    Return the resolution of a request inside another middleware, or whose headers were verified.
    """
    if outcomes:
        return settle_verified(plan, lines, raw, outcomes)
    return resolve(plan, lines, raw, outer)


def _forget_headers(request: Any) -> None:
    # Django caches the headers, and a middleware outside of this one may have read them.
    request.__dict__.pop("headers", None)


def _header_lines(request: Any) -> list[Pair]:
    """
    Return the header lines of an ASGI request, as a new list.
    """
    lines: Any = request.scope.get("headers") or ()
    if not isinstance(lines, Iterator):
        return list(lines)
    # Django has exhausted the iterator, so the headers are left in META only.
    names = ((key.removeprefix("HTTP_"), key) for key in request.META if key.startswith("HTTP_"))
    return [
        (name.lower().replace("_", "-").encode("latin-1"), request.META[key].encode("latin-1"))
        for name, key in names
    ]


async def verify_headers(
    awaited: AwaitedHeaders, requests: WSGIRequests | ASGIRequests, request: Any
) -> Verified | None:
    """
    Return the outcomes of the async functions that verify headers of a request.
    """
    if requests.find_outer(request) is not None:
        return None
    return await awaited.verify_lines(requests.find_lines(request), requests.raw(request))


def admit_request(
    requests: WSGIRequests | ASGIRequests,
    request: Any,
    inner: RequestIDs,
    known_sessions: KnownSessions,
) -> Refusal | None:
    """
    Return the refusal if the session of a request is not known, else ``None``.
    """
    raw = requests.raw(request)
    edits, refusal = known_sessions.admit(raw, inner, None)
    return _apply_admission(requests, request, inner, edits, refusal)


async def admit_request_async(
    requests: WSGIRequests | ASGIRequests,
    request: Any,
    inner: RequestIDs,
    known_sessions: KnownSessions,
) -> Refusal | None:
    """
    Return the same, awaited on an event loop.
    """
    raw = requests.raw(request)
    edits, refusal = await known_sessions.admit_async(raw, inner, None)
    return _apply_admission(requests, request, inner, edits, refusal)


def _apply_admission(
    requests: WSGIRequests | ASGIRequests,
    request: Any,
    inner: RequestIDs,
    edits: Edits | None,
    refusal: Refusal | None,
) -> Refusal | None:
    if refusal is not None:
        inner.open = False
    elif edits is not None:
        requests.publish(request, inner)
        requests.show(request, edits)
    return refusal
