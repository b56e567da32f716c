"""
What a response says: the echo of the IDs, and the body of a refusal (R8, R9).
Pure, over lists of pairs; both protocols write out what is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from idlanyard._case import Refusal
from idlanyard._claims import Pair
from idlanyard._plan import Plan

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
FINAL: Final = 200
UNSAFE_STATUS: Final = frozenset({206, 304})


def echoed(
    plan: Plan,
    method: str,  # noqa: ARG001 - the next commit weighs it
    status: int,
    headers: Iterable[Pair],
    pairs: Headers,
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
    plain_names = plan.plain_names
    for name, _ in said:
        if name not in plain_names and matters(plan, name):
            break
    else:
        if status >= FINAL and status not in UNSAFE_STATUS:
            said += pairs
            return said
    watched = plan.echo_watched
    seen = [pair for pair in said if pair[0].lower() in watched]
    return _onto(plan, status, said, seen, pairs)


def matters(plan: Plan, name: Any) -> bool:
    """
    Say whether the echo depends on a response header, and remember where it does not.
    """
    if name.lower() in plan.echo_watched:
        return True
    # An application has few header names; one that makes them up fills no memory.
    if len(plan.plain_names) < _MOST_NAMES:
        plan.plain_names.add(name)
    return False


def _onto(plan: Plan, status: int, headers: Headers, seen: Headers, pairs: Headers) -> Headers:
    if status < FINAL or status in UNSAFE_STATUS or _may_be_shared(plan, seen):
        pairs = [pair for pair in pairs if pair[0] in plan.always_echoed]
    names = {name.lower() for name, _ in pairs}
    headers = [pair for pair in headers if pair[0].lower() not in names]
    headers += pairs
    return _expose(plan, headers, seen, pairs) if plan.policy.expose else headers


def _may_be_shared(plan: Plan, seen: Headers) -> bool:
    """
    Say whether a shared cache may store the response, and so hand on its IDs (S11).
    """
    directives = _directives(",".join(_lines(plan, seen, "Cache-Control")))
    names = {name for name, _ in directives}
    if "no-store" in names:
        return False
    if "public" in names or "s-maxage" in names:
        return True
    # With a field list, private="...", the rest of the response may be shared.
    if ("private", "") in directives:
        return False
    if "max-age" in names:
        # Of several, one cache takes the first and another the last.
        ages = [value for name, value in directives if name == "max-age"]
        return any(age.strip('"').lstrip("0") for age in ages)
    return bool(_lines(plan, seen, "Expires"))


def _directives(line: str) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in line.lower().split(","))
    return [(name.strip(), value.strip()) for name, _, value in parts]


def _expose(plan: Plan, headers: Headers, seen: Headers, pairs: Headers) -> Headers:
    """
    Merge the echoed names into Access-Control-Expose-Headers where CORS is answered (S12).
    """
    if not pairs or not _lines(plan, seen, "Access-Control-Allow-Origin"):
        return headers
    before = ",".join(_lines(plan, seen, "Access-Control-Expose-Headers"))
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
    session = plan.policy.session
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
