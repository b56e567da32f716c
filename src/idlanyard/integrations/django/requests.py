"""
What a Django request has, decided by ``resolve``, and what it shows afterwards.

Django makes one kind of ``request`` of both protocols. Over ASGI the decision
is taken on the raw header lines, which ``META`` has joined already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard import asgi, wsgi
from idlanyard._binding import UNBOUND, current
from idlanyard._notices import report
from idlanyard._plan import plan_for
from idlanyard._resolve import enclosing, resolve, resolve_nested
from idlanyard._view import RequestContext
from idlanyard._wires import ASGI, WSGI

if TYPE_CHECKING:
    from idlanyard._binding import Scope
    from idlanyard._case import Refusal
    from idlanyard._claims import Pair
    from idlanyard._policy import Policy
    from idlanyard._resolve import Edits


class WSGIRequests:
    """
    Requests whose ``META`` is the server's ``environ``.
    """

    __slots__ = ("_keys", "plan", "responses")

    key = wsgi.KEY

    def __init__(self, policy: Policy) -> None:
        self.plan = self.responses = plan_for(policy, WSGI)
        self._keys = tuple(self.plan.lines)

    def read(self, request: Any) -> tuple[Any, list[Pair]]:
        """
        Return where the protocol keeps the request, and the lines to look at.
        """
        meta: Any = request.META
        return meta, [(key, meta[key]) for key in self._keys if key in meta]

    def show(self, request: Any, _found: list[Pair], edits: Edits) -> None:
        """
        Let the request's headers say what is in force.
        """
        wsgi.edit(request.META, edits)

    def publish(self, request: Any, scope: Scope) -> None:
        """
        Set the keys that access logs read.
        """
        wsgi.publish(request.META, scope.policy, scope.values)

    def echo(self, scope: Scope) -> list[Pair]:
        """
        Return what the response is to carry.
        """
        return self.plan.echo_pairs(scope.values) if scope.echo is None else scope.echo


class ASGIRequests:
    """
    Requests made of an ASGI ``scope``.
    """

    __slots__ = ("plan", "responses")

    key = asgi.KEY

    def __init__(self, policy: Policy) -> None:
        self.plan = plan_for(policy, ASGI)
        # Django's responses spell headers as text, on both protocols.
        self.responses = plan_for(policy, WSGI)

    def read(self, request: Any) -> tuple[Any, list[Pair]]:
        """
        Return where the protocol keeps the request, and the lines to look at.
        """
        scope = request.scope
        scope["headers"] = headers = list(scope.get("headers") or ())
        return scope, [pair for pair in headers if pair[0] in self.plan.watched]

    def show(self, request: Any, found: list[Pair], edits: Edits) -> None:
        """
        Let the request's headers say what is in force, the raw lines and ``META``.
        """
        gone, added = edits
        scope = request.scope
        scope["headers"] = asgi.without(self.plan, scope["headers"], found, gone) + added
        wsgi.edit(
            request.META,
            (
                [WSGI.key(key.decode("latin-1")) for key in gone],
                [(WSGI.key(key.decode()), value.decode()) for key, value in added],
            ),
        )

    def publish(self, _request: Any, _scope: Scope) -> None:
        """
        Nothing: access logs over ASGI do not read the scope.
        """

    def echo(self, scope: Scope) -> list[Pair]:
        """
        Return what the response is to carry, as text.
        """
        return self.responses.echo_pairs(scope.values)


def opened(
    requests: WSGIRequests | ASGIRequests, request: Any
) -> tuple[Scope, bool, Refusal | None]:
    """
    Decide what *request* has, and let it show that.

    Returns:
        Its scope; whether that is a middleware's around this one (R15); and
        the refusal, or ``None``.
    """
    plan = requests.plan
    raw, found = requests.read(request)
    outer = None
    if requests.key in raw or current() is not UNBOUND:
        outer = enclosing(plan, found, raw.get(requests.key))
    if outer is None:
        inner, edits, refusal, rejected = resolve(plan, found, raw)
        if rejected:
            report(plan, raw, inner, rejected)
    else:
        inner = outer
        edits, refusal = resolve_nested(plan, found, outer, raw)
    if refusal is None:
        if edits is not None:
            requests.show(request, found, edits)
            # What a middleware outside this one has read before is read anew.
            request.__dict__.pop("headers", None)
        if outer is None:
            raw[requests.key] = inner
            requests.publish(request, inner)
        request.session_context = RequestContext(inner)
    return inner, outer is not None, refusal
