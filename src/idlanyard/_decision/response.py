"""
The response: the echo of the IDs, and the body of a refusal. Pure, over lists of
pairs that each protocol writes in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from idlanyard._decision.caches import STORED_METHODS, STORED_STATUSES
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.protocols import Pair
from idlanyard._decision.resolve import Refusal

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
_FINAL: Final = 200
_WITHOUT_ECHO: Final = frozenset({206, 304})


def add_echo(
    plan: CompiledPolicy, method: str, status: int, headers: Iterable[Pair], pairs: list[Pair]
) -> list[Pair]:
    """
    Return the headers of a response with the echo.

    Args:
        plan: the compiled policy.
        method: the request's, as the server had it; empty for a WebSocket's handshake.
        status: the response's status.
        headers: the application's headers, any iterable of pairs; not changed.
        pairs: the echo of the request's IDs.
    """
    lines = [*headers]
    plain = plan.plain_names
    affecting: list[Pair] = []
    for pair in lines:
        # A name that affects the echo is checked each time: few do, and few responses have one.
        if pair[0] not in plain and affects_echo(plan, pair[0]):
            affecting.append(pair)
    if not affecting:
        more = choose_plain_echo(plan, method, status, pairs)
        if more is not None:
            lines += more
            return lines
    return _merge_echo(plan, method, status, lines, affecting, pairs)


def affects_echo(plan: CompiledPolicy, name: Any) -> bool:
    """
    Return whether the echo depends on a response header, and remember it if not.
    """
    if plan.caches.classify(name) is not None or name.lower() in plan.echo_watched:
        return True
    # Bounded, since an application may make names up.
    if len(plan.plain_names) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
        plan.plain_names.add(name)
    return False


def choose_plain_echo(
    plan: CompiledPolicy, method: str, status: int, pairs: list[Pair]
) -> list[Pair] | None:
    """
    Return the lines to append to a response none of whose headers affects the echo.

    ``None`` means that appending is not enough.

    Args:
        plan: the compiled policy.
        method: the request's.
        status: the response's.
        pairs: the echo of the request's IDs.
    """
    if status < _FINAL or status in _WITHOUT_ECHO:
        return None
    if status in STORED_STATUSES and method in STORED_METHODS:
        return [*pairs, plan.caches.private] if plan.marks_private else None
    return pairs


def _merge_echo(
    plan: CompiledPolicy,
    method: str,
    status: int,
    lines: list[Pair],
    affecting: list[Pair],
    pairs: list[Pair],
) -> list[Pair]:
    """
    Return *lines* with the echo, as their headers, the status and the policy allow it.
    """
    is_final = status >= _FINAL and status not in _WITHOUT_ECHO
    unmarked = plan.caches.judge_response(method, status, affecting) if is_final else None
    if unmarked is None or (unmarked and not plan.policy.mark_private):
        pairs = [pair for pair in pairs if pair[0] in plan.always_echoed]
        if not pairs:
            return lines
    own = {name.lower() for name, _ in affecting}
    kept = own & plan.echoed_unless_set
    written = [pair for pair in pairs if pair[0].lower() not in kept] if kept else pairs
    names = {name.lower() for name, _ in written}
    if names & own:
        lines = [pair for pair in lines if pair[0].lower() not in names]
    lines += written
    if unmarked and any(name not in plan.always_echoed for name, _ in written):
        lines = plan.caches.forbid_storing(unmarked, lines)
    return _expose_echo(plan, lines, pairs) if plan.policy.expose else lines


def _expose_echo(plan: CompiledPolicy, headers: list[Pair], pairs: list[Pair]) -> list[Pair]:
    """
    Merge the echoed names into Access-Control-Expose-Headers of a response to a CORS request.
    """
    if not pairs or not _read_header(plan, headers, "Access-Control-Allow-Origin"):
        return headers
    before = ",".join(_read_header(plan, headers, "Access-Control-Expose-Headers"))
    exposed = [word.strip() for word in before.split(",") if word.strip()]
    known = {word.lower() for word in exposed}
    carried = {name for name, _ in pairs}
    for spec in plan.echoed:
        if spec.echo_name in carried and spec.rules.header.lower() not in known:
            exposed.append(spec.rules.header)
    name = plan.dialect.echo("Access-Control-Expose-Headers")
    headers = [pair for pair in headers if pair[0].lower() != name.lower()]
    return [*headers, (name, plan.encode(", ".join(exposed)))]


def _read_header(plan: CompiledPolicy, headers: list[Pair], header: str) -> list[str]:
    name = plan.dialect.echo(header).lower()
    return [plan.decode(value) for key, value in headers if key.lower() == name]


def build_refusal(
    plan: CompiledPolicy, refusal: Refusal, pairs: list[Pair]
) -> tuple[int, str, list[Pair], bytes]:
    """
    Return status, reason phrase, headers and body of the response to a refused request.

    Args:
        plan: the compiled policy.
        refusal: the reason.
        pairs: the echo of the request's IDs, of which only the session's is added.
    """
    phrase, lines, body = build_problem(refusal)
    session = plan.policy.specs.get("session_id")
    name = plan.dialect.echo(session.header) if session and session.echo else None
    headers = [(plan.dialect.echo(key), plan.encode(value)) for key, value in lines.items()]
    return refusal.status, phrase, [*headers, *(pair for pair in pairs if pair[0] == name)], body


def build_problem(refusal: Refusal) -> tuple[str, dict[str, str], bytes]:
    """
    Return reason phrase, headers and body of a refusal (RFC 9457), for any protocol.
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
        # RFC 9110, 15.5.2 requires a challenge in every 401.
        lines["WWW-Authenticate"] = f'IDLanyard field="{refusal.field}"'
    if refusal.status == _UNAVAILABLE:
        lines["Retry-After"] = "1"
    return phrase, lines, body
