"""
What the log and the subscribers are told about a request: each warning once,
never a value (R6, S8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from idlanyard import _events
from idlanyard._binding import Scope
from idlanyard._case import CONFLATES, NOBODY, REWRITTEN, STRANGER
from idlanyard._events import Event
from idlanyard._plan import Plan
from idlanyard._snapshot import snapshot_of
from idlanyard.ids import Provenance

_WARNINGS: Final = {
    NOBODY: (
        "identity header dropped, nobody is trusted: set trusted_peers if the peer %s is your "
        "proxy, and let it set the header on every request"
    ),
    REWRITTEN: (
        "identity header dropped: the peer %s also stands in X-Forwarded-For, so the server "
        "rewrote it and the sender is unknown: start the server without it, as with "
        "uvicorn --no-proxy-headers, or prove the sender by shared_secret"
    ),
    CONFLATES: (
        "identity header dropped from peer %s: this server lets X_User_ID replace X-User-ID, so no "
        "peer is believed: set shared_secret, or unsafe_server_ok=True where the proxy drops "
        "header names with underscores"
    ),
    STRANGER: "identity header dropped: the peer %s is not in trusted_peers",
}


def report(plan: Plan, raw: Any, scope: Scope, rejected: Sequence[tuple[str, str]]) -> None:
    """
    Warn of what the operator should mend, and tell who subscribed.

    Args:
        plan: the compiled policy, which remembers what was said.
        raw: the ``scope`` or ``environ``, for the peer.
        scope: what was bound.
        rejected: each ID that was not believed, with the reason.
    """
    for field, reason in rejected:
        if reason not in plan.told:
            plan.told.add(reason)
            _warn(plan, raw, reason)
        if "reject" in _events.subscribers:
            context = snapshot_of(scope.values, scope.policy)
            _events.emit(Event("reject", context, field, reason))


def _warn(plan: Plan, raw: Any, reason: str) -> None:
    if reason in _WARNINGS:
        log = _events.LOGGER.info if reason == STRANGER else _events.LOGGER.warning
        peer = plan.wire.peer(raw, plan.policy)
        log("idlanyard: " + _WARNINGS[reason], peer or "(unknown)")


def announce(scope: Scope) -> None:
    """
    Tell who subscribed that a request's IDs were bound, and which were minted.
    """
    context = snapshot_of(scope.values, scope.policy)
    _events.emit(Event("bind", context))
    for name in context.as_dict():
        if context.provenance(name) is Provenance.MINTED:
            _events.emit(Event("mint", context, name))
