"""
The response: the echo of the IDs, and the body of a refusal. Pure, over lists of
pairs that each protocol writes in its own way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from idlanyard._decision.caches import NO_CHANGE, STORED_METHODS, WITHOUT_ECHO, Change
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
_FINAL: Final = 200


def add_echo(
    plan: CompiledPolicy, method: str, status: int, headers: Collection[Pair], pairs: list[Pair]
) -> list[Pair]:
    """
    Return the headers of a response with the echo.

    Args:
        plan: the compiled policy.
        method: the request's, as the server had it; empty for a WebSocket's handshake.
        status: the response's status.
        headers: the application's headers, a collection of pairs; not changed.
        pairs: the echo of the request's IDs.
    """
    effects = plan.effects
    plain, values_count = effects.plain, effects.values_count
    parts: list[Any] = []
    for pair in headers:
        name = pair[0]
        if name not in plain:
            counts = values_count[name]
            if counts:
                parts += pair
            elif counts is False:
                parts.append(name)
            else:
                effects.learn_plain(name)
    stored, otherwise, is_dated, merged = effects.look_up(parts) if parts else effects.none
    if status in plan.stored_statuses and method in STORED_METHODS:
        change = stored
    elif status < _FINAL or status in WITHOUT_ECHO:
        change = None
    else:
        change = otherwise
    if is_dated and plan.caches.is_fresh(headers):
        change = None
    if merged or not plan.marks_private:
        return _merge_echo(plan, headers, pairs, change, merged)
    if change is None:
        return [*headers]
    replaced, added = change
    lines = [*headers, *pairs, *added]
    if replaced:
        _replace_headers(lines, replaced)
    return lines


def affects_echo(plan: CompiledPolicy, name: Any) -> bool:
    """
    Return whether the echo depends on a response header, and remember it if not.
    """
    if plan.effects.values_count[name] is not None:
        return True
    plan.effects.learn_plain(name)
    return False


def choose_plain_echo(plan: CompiledPolicy, method: str, status: int) -> list[Pair] | None:
    """
    Return the lines to append, besides the echo of the IDs, to a response none of whose
    headers affects it.

    ``None`` means that appending is not enough.

    Args:
        plan: the compiled policy.
        method: the request's.
        status: the response's.
    """
    if status < _FINAL or status in WITHOUT_ECHO:
        return None
    if status in plan.stored_statuses and method in STORED_METHODS:
        return [plan.caches.private] if plan.marks_private else None
    return []


def _merge_echo(
    plan: CompiledPolicy,
    headers: Collection[Pair],
    pairs: list[Pair],
    change: Change | None,
    merged: frozenset[Any],
) -> list[Pair]:
    """
    Return *headers* with the echo under any policy, and whatever they are.
    """
    if change is None or (change != NO_CHANGE and not plan.policy.mark_private):
        pairs = [pair for pair in pairs if pair[0] in plan.always_echoed]
    written, lines = pairs, [*headers]
    if merged:
        kept = plan.echoed_unless_set and plan.echoed_unless_set & {n.lower() for n in merged}
        if kept:
            written = [pair for pair in pairs if pair[0].lower() not in kept]
        names = {name.lower() for name, _ in written}
        gone = [name for name in merged if name.lower() in names]
        lines = [pair for pair in lines if pair[0] not in gone]
    if plan.cookie is not None and any(pair[0] == plan.cookie.header for pair in written):
        lines = plan.cookie.remove_others(lines)
    lines += written
    always = plan.always_echoed
    if change and written and not (always and all(name in always for name, _ in written)):
        _replace_headers(lines, change.replaced)
        lines += change.added
    return _expose_echo(plan, lines, pairs) if plan.policy.expose else lines


def _replace_headers(lines: list[Pair], replaced: Iterable[tuple[Pair, Pair]]) -> None:
    """
    Replace headers in *lines*, which has them in the order of *replaced*.
    """
    place = 0
    for old, new in replaced:
        try:
            place = lines.index(old, place)
        except ValueError:
            # ASGI allows any iterable for a pair.
            lines[:] = map(tuple, lines)
            place = lines.index(old, place)
        lines[place] = new


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
        pairs: the echo of the request's IDs, of which only the session's is added, and the
            line of its cookie.
    """
    phrase, lines, body = build_problem(refusal)
    session = plan.policy.specs.get("session_id")
    names = [plan.dialect.echo(session.header)] if session and session.echo else []
    if plan.cookie is not None:
        names.append(plan.cookie.header)
    headers = [(plan.dialect.echo(key), plan.encode(value)) for key, value in lines.items()]
    return refusal.status, phrase, [*headers, *(pair for pair in pairs if pair[0] in names)], body


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
