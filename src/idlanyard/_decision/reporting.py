"""
Reports of a request to the log and to subscribers: each reason is logged once, values never.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from idlanyard import _failures
from idlanyard._binding import events
from idlanyard._binding.events import Event
from idlanyard._binding.snapshot import make_snapshot
from idlanyard._binding.state import RequestIDs, bound
from idlanyard._decision.claims import ALIASED, NAMED_BY_CONNECTION, REPEATED, Claims
from idlanyard._decision.compiled_spec import (
    NOT_BY_SERVER,
    NOT_VERIFIED,
    find_managed_headers,
)
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.resolve import (
    ABSENT,
    LONE_ALIAS,
    NOT_SIGNED,
    NOT_UNDERSTOOD,
    UNKNOWN,
    UNMATCHED,
    Rejection,
)
from idlanyard._decision.trust import (
    CONFLATES,
    MISSING_PROOF,
    NOBODY,
    RELAYED,
    REWRITTEN,
    STRANGER,
    WRONG_PROOF,
)
from idlanyard._policy.peers import UNIX, parse_address
from idlanyard._policy.proofs import Proof, proof_of
from idlanyard._policy.server_sources import Environ, Scope
from idlanyard._policy.spec import IDSpec, name_headers, sources_of
from idlanyard.ids import Provenance

# About the sender: logged once for all IDs. {peer} is an address or a word for none.
_SENDER_WARNINGS: Final = {
    NOBODY: (
        "identity header dropped, nobody is trusted: set trusted_peers if the peer {peer} is your "
        "proxy, and let it set the header on every request"
    ),
    STRANGER: (
        "identity header dropped: the peer {peer} is not in trusted_peers: add it if it is your "
        "proxy; if it is the end user, the server took it from X-Forwarded-For: start the server "
        "without that, as with uvicorn --no-proxy-headers, or prove the sender by shared_secret"
    ),
    REWRITTEN: (
        "identity header dropped: the peer {peer} also stands in X-Forwarded-For or a header like "
        "it, or that header cannot be read for certain, so either the server rewrote the peer "
        "(start it without that, as with uvicorn --no-proxy-headers or gunicorn "
        "--forwarded-allow-ips '') or the request came from that very machine (test from another "
        "address); shared_secret proves the sender in both cases"
    ),
    RELAYED: (
        "identity header dropped: the server took the peer {peer} from the PROXY protocol, so it "
        "is the end user and not your proxy: prove the sender by shared_secret"
    ),
    CONFLATES: (
        "identity header dropped from peer {peer}: this server may take X_User_ID for X-User-ID, "
        "so nobody is believed, with or without a secret: run a server that drops header names "
        "with underscores, or let the proxy drop them and set unsafe_server_ok=True"
    ),
    MISSING_PROOF: (
        "identity header dropped: the header {secret} with the shared secret is missing: let the "
        "proxy set it on every request"
    ),
    WRONG_PROOF: (
        "identity header dropped: the header {secret} does not hold one of the secrets in "
        "shared_secret, once: let proxy and service have the same"
    ),
}
# About a value of a trusted sender: logged once for each ID.
_VALUE_WARNINGS: Final = {
    "character not allowed": "value dropped, a character is not allowed: {charset}",
    "too long": "value dropped, over {length} characters: {spec}(max_length=...) allows up to 1024",
    REPEATED: "value dropped, there is more than one: let the header be set once",
    ALIASED: (
        "value dropped, an alias such as {alias} stands beside {header}: let the proxy drop "
        "header names with underscores"
    ),
    LONE_ALIAS: "value dropped, the header is spelled {alias}: write {header}",
    NAMED_BY_CONNECTION: (
        "value dropped, the request's Connection header names {header}, which makes it a matter "
        "of one connection: let the proxy remove what clients write in Connection"
    ),
    NOT_UNDERSTOOD: "value dropped, the function in Header(parse=...) found no ID in the header",
    NOT_VERIFIED: (
        "value dropped, no signature proves it: only {verified} is believed, signed with a key "
        "that is known, for this service, and not expired"
    ),
    NOT_BY_SERVER: ("value dropped, no header is believed: the ID is read from {server} alone"),
    NOT_SIGNED: (
        "value dropped, this service has not minted it: {spec}(signed=...) accepts only IDs with a "
        "signature by one of its keys, and gives the request a fresh one"
    ),
    ABSENT: "request refused, the ID is required and the request has none: {cure}",
    UNMATCHED: "request refused, must_match says that the ID does not belong to the request",
    UNKNOWN: (
        "the session that a client sent is not a known one: Admission(unknown=...) says whether "
        "the request then has a fresh one ('mint') or is answered 404 ('refuse')"
    ),
}
_WIDER: Final = (
    "allowed are letters, digits and - _ . ~ : @ / + = |, first a letter or digit; "
    "{spec}(charset='visible') allows more"
)
_OWN_CHARSET: Final = "allowed is what charset says in {spec}(charset=...)"
_TEST_CLIENT: Final = (
    " (a test client has no address: write TestClient(app, client=('127.0.0.1', 50000)))"
)


def report_rejections(
    plan: CompiledPolicy, raw: Any, inner: RequestIDs, rejected: Sequence[Rejection]
) -> None:
    """
    Log why IDs were not accepted, and notify the subscribers.

    Args:
        plan: the compiled policy, which knows the warnings that were logged.
        raw: the ``scope`` or ``environ``, for the peer.
        inner: the IDs of the request, bound meanwhile.
        rejected: each ID that was not accepted, with the reason.
    """
    if "reject" not in events.subscribers:
        for field, reason in rejected:
            if reason not in plan.warnings and f"{field}: {reason}" not in plan.warnings:
                break
        else:
            return
    dropped: set[str] = set()
    token = bound.set(inner)
    try:
        for field, reason in rejected:
            # A request that is refused since its ID was dropped is explained by the first reason.
            if reason != ABSENT or field not in dropped:
                _log_once(plan, raw, field, reason)
            dropped.add(field)
            if "reject" in events.subscribers:
                context = make_snapshot(inner.values, inner.policy)
                events.notify_subscribers(Event("reject", context, field, reason))
    finally:
        # Set in this very call: the Context is the same.
        bound.reset(token)


def _log_once(plan: CompiledPolicy, raw: Any, field: str, reason: str) -> None:
    """
    Log a reason the first time.
    """
    key = reason if reason in _SENDER_WARNINGS else f"{field}: {reason}"
    # Atomic, so that of several threads only one gets the zero.
    if next(plan.warnings.setdefault(key, count())):
        return
    if reason in _SENDER_WARNINGS:
        message = _SENDER_WARNINGS[reason].format(**_describe_sender(plan, raw, reason))
        _failures.LOGGER.warning("idlanyard: %s: %s", field, message)
    elif reason in _VALUE_WARNINGS:
        told = _describe_rules(plan, raw, field, reason)
        message = _VALUE_WARNINGS[reason].format(**told)
        _failures.LOGGER.warning("idlanyard: %s: %s", field, message)


def _describe_sender(plan: CompiledPolicy, raw: Any, reason: str) -> dict[str, str]:
    """
    Return the peer, if it is an address, and the name of the shared secret's header.
    """
    peer = plan.dialect.peer(raw, plan.policy)
    shown = "(unknown)"
    if peer == UNIX:
        shown = "on the unix socket"
    elif peer is not None and (address := parse_address(peer)) is not None:
        # Without the zone, which may be any text that the sender chooses.
        shown = str(address)
    elif peer is not None and reason in (NOBODY, STRANGER):
        shown += _TEST_CLIENT
    return {"peer": shown, "secret": plan.policy.secret_header or ""}


def _find_headers(plan: CompiledPolicy, raw: Any, spec: IDSpec, reason: str) -> list[str]:
    """
    Return the headers of an ID that have a fault, otherwise those that it is read from.
    """
    lines = plan.find_lines(raw, plan.watched)
    claims = Claims(plan, [pair for pair in lines if pair[0] in plan.watched])
    managed = {plan.dialect.key(header.name): header.name for header in find_managed_headers(spec)}
    faulty = [name for key, name in managed.items() if claims.faults.get(key) == reason]
    if reason == LONE_ALIAS:
        faulty = [name for key, name in managed.items() if key in claims.aliases]
    return faulty or name_headers(spec)


def _suggest_source(spec: IDSpec) -> str:
    """
    Return the end of the message about an ID that is required and absent.
    """
    # Imported here, since only a message needs it.
    from idlanyard._policy.posture import describe_source

    places = " or ".join(map(describe_source, sources_of(spec)))
    is_of_server = proof_of(sources_of(spec)) is Proof.SERVER
    return f"let the server set {places}" if is_of_server else f"send {places}"


def _describe_rules(plan: CompiledPolicy, raw: Any, field: str, reason: str) -> dict[str, str]:
    """
    Return the rules of an ID as the message about a value of it needs them.
    """
    spec = plan.policy.specs[field]
    header = " or ".join(_find_headers(plan, raw, spec, reason))
    kind = field.removesuffix("_id")
    build = f"{kind}_spec" if kind in ("session", "user", "tenant", "request") else "IDSpec"
    charset = _WIDER if spec.charset == "default" else _OWN_CHARSET
    return {
        "header": header,
        "alias": header.replace("-", "_"),
        "cure": _suggest_source(spec),
        "length": str(spec.max_length),
        "verified": " or ".join(name_headers(spec)),
        "server": " or ".join(
            repr(source) for source in sources_of(spec) if isinstance(source, Scope | Environ)
        ),
        "spec": build,
        "charset": charset.format(spec=build),
    }


def report_bound(inner: RequestIDs) -> None:
    """
    Notify the subscribers of the IDs that were bound for a request, and of those minted.
    """
    context = make_snapshot(inner.values, inner.policy)
    events.notify_subscribers(Event("bind", context, begins="request"))
    for name in context.as_dict():
        if context.provenance(name) is Provenance.MINTED:
            events.notify_subscribers(Event("mint", context, name))
