"""
What a response says: the echo of the IDs, and the body of a refusal (R8, R9).
Pure, over lists of pairs; both protocols write out what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from idlanyard._decision.caches import STORED_METHODS, STORED_STATUSES
from idlanyard._decision.case import Refusal
from idlanyard._decision.claims import Pair
from idlanyard._decision.plan import Plan

Headers: TypeAlias = list[Pair]

_PHRASES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    503: "Service Unavailable",
}
_UNAUTHORIZED: Final = 401
_UNAVAILABLE: Final = 503
_MOST_NAMES: Final = 256
_LONGEST_NAME: Final = 128
FINAL: Final = 200
UNSAFE_STATUS: Final = frozenset({206, 304})


def echoed(
    plan: Plan, method: str, status: int, headers: Iterable[Pair], pairs: Headers
) -> Headers:
    """
    Return *headers* with the echo of *pairs*, as R9 says.

    Args:
        plan: the compiled policy.
        method: the request's, as the server had it; empty for a WebSocket's handshake.
        status: the response's status.
        headers: the application's, any iterable of pairs; left as they are.
        pairs: what the request's scope is to be echoed as.
    """
    said = [*headers]
    plain = plan.plain_names
    # Names that matter are asked for again: there are few, and seldom one of them.
    telling = [pair for pair in said if pair[0] not in plain and matters(plan, pair[0])]
    if not telling:
        more = unweighed(plan, method, status, pairs)
        if more is not None:
            said += more
            return said
    return _weighed(plan, method, status, said, telling, pairs)


def matters(plan: Plan, name: Any) -> bool:
    """
    Return whether the echo depends on a response header, and remember where it does not.
    """
    if plan.caches.kind(name) is not None or name.lower() in plan.echo_watched:
        return True
    # An application has few header names; one that makes them up fills no memory.
    if len(plan.plain_names) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
        plan.plain_names.add(name)
    return False


def unweighed(plan: Plan, method: str, status: int, pairs: Headers) -> Headers | None:
    """
    Return the lines to add to a response of whose headers none matters.

    ``None`` says that there is more to it than adding.

    Args:
        plan: the compiled policy.
        method: the request's.
        status: the response's.
        pairs: what the request's scope is to be echoed as.
    """
    if status < FINAL or status in UNSAFE_STATUS:
        return None
    if status in STORED_STATUSES and method in STORED_METHODS:
        return [*pairs, plan.caches.private] if plan.marks else None
    return pairs


def _weighed(
    plan: Plan, method: str, status: int, said: Headers, telling: Headers, pairs: Headers
) -> Headers:
    """
    Return *said* with the echo, where a header of it, the status or an option has a say.
    """
    final = status >= FINAL and status not in UNSAFE_STATUS
    silent = plan.caches.weigh(method, status, telling) if final else None
    if silent is None or (silent and not plan.policy.mark_private):
        pairs = [pair for pair in pairs if pair[0] in plan.always_echoed]
        if not pairs:
            return said
    own = {name.lower() for name, _ in telling}
    kept = own & plan.yielding
    written = [pair for pair in pairs if pair[0].lower() not in kept] if kept else pairs
    names = {name.lower() for name, _ in written}
    if names & own:
        said = [pair for pair in said if pair[0].lower() not in names]
    said += written
    if silent and any(name not in plan.always_echoed for name, _ in written):
        said = plan.caches.forbid(silent, said)
    return _expose(plan, said, pairs) if plan.policy.expose else said


def _expose(plan: Plan, headers: Headers, pairs: Headers) -> Headers:
    """
    Merge the echoed names into Access-Control-Expose-Headers where CORS is answered (S12).
    """
    if not pairs or not _lines(plan, headers, "Access-Control-Allow-Origin"):
        return headers
    before = ",".join(_lines(plan, headers, "Access-Control-Expose-Headers"))
    exposed = [word.strip() for word in before.split(",") if word.strip()]
    known = {word.lower() for word in exposed}
    carried = {name for name, _ in pairs}
    for field in plan.echoed:
        if field.echo_name in carried and field.spec.header.lower() not in known:
            exposed.append(field.spec.header)
    name = plan.wire.echo("Access-Control-Expose-Headers")
    headers = [pair for pair in headers if pair[0].lower() != name.lower()]
    return [*headers, (name, plan.encode(", ".join(exposed)))]


def _lines(plan: Plan, headers: Headers, header: str) -> list[str]:
    name = plan.wire.echo(header).lower()
    return [plan.decode(value) for key, value in headers if key.lower() == name]


def problem(plan: Plan, refusal: Refusal, pairs: Headers) -> tuple[int, str, Headers, bytes]:
    """
    Return status, reason phrase, headers and body that refuse a request (R8, RFC 9457).

    Args:
        plan: the compiled policy.
        refusal: why.
        pairs: what would have been echoed; the session's stays.
    """
    phrase, lines, body = refused(refusal)
    session = plan.policy.specs.get("session_id")
    name = plan.wire.echo(session.header) if session and session.echo else None
    headers = [(plan.wire.echo(key), plan.encode(value)) for key, value in lines.items()]
    return refusal.status, phrase, [*headers, *(pair for pair in pairs if pair[0] == name)], body


def refused(refusal: Refusal) -> tuple[str, dict[str, str], bytes]:
    """
    Return reason phrase, headers and body of a refusal, the same on every protocol.
    """
    import json

    phrase = _PHRASES[refusal.status]
    body = json.dumps(
        {
            "type": "about:blank",
            "title": phrase,
            "status": refusal.status,
            "detail": f"{refusal.field}: {refusal.reason}",
            "field": refusal.field,
            "reason": refusal.reason,
        }
    ).encode("ascii")
    lines = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    if refusal.status == _UNAUTHORIZED:
        # RFC 9110 15.5.2 wants a challenge with every 401.
        lines["WWW-Authenticate"] = f'IDLanyard field="{refusal.field}"'
    if refusal.status == _UNAVAILABLE:
        lines["Retry-After"] = "1"
    return phrase, lines, body
