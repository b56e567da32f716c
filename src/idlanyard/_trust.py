"""
May the sender of a request speak for users and tenants, and if not, why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from idlanyard._forwarding import Hop, is_rewritten
from idlanyard._peers import LONGEST_LIST, UNIX
from idlanyard._plan import Plan

BELIEVED: Final = ""
NOBODY: Final = "nobody is trusted"
STRANGER: Final = "the peer is not trusted"
REWRITTEN: Final = "the peer was rewritten"
RELAYED: Final = "the peer comes from the PROXY protocol"
CONFLATES: Final = "the server may let an alias win"
MISSING_PROOF: Final = "the shared secret is missing"
WRONG_PROOF: Final = "the shared secret is wrong"


def judge_sender(plan: Plan, secret: Any, hops: Sequence[tuple[Any, Any]], raw: Any) -> str:
    """
    Return why the sender may not speak for users and tenants, or ``BELIEVED``.

    Args:
        plan: the compiled policy.
        secret: what stands in the shared secret's header, ``None`` where it
            is missing.
        hops: the lines of forwarding headers, as the protocol spells them.
        raw: the ``scope`` or ``environ``.
    """
    policy = plan.policy
    peers = policy.peers
    if peers.nobody and not plan.secrets:
        return NOBODY
    # A secret proves who speaks, not which of two spellings the server kept.
    if not policy.unsafe_server_ok and plan.wire.conflates(raw):
        return CONFLATES
    if secret is not None and _is_known(plan, secret):
        return BELIEVED
    if peers.everyone:
        return BELIEVED
    peer = plan.wire.peer(raw, policy)
    # Nothing of a stranger's is parsed.
    if not peers.trusts(peer):
        if not plan.secrets or (secret is None and not peers.nobody):
            return STRANGER
        return MISSING_PROOF if secret is None else WRONG_PROOF
    if plan.wire.relayed(raw):
        return RELAYED
    # Where the evidence is a path that the server listens on, no header has made it.
    if not hops or peer is None or (peer == UNIX and plan.binary and not policy.assume_unix):
        return BELIEVED
    assumed = peer == UNIX and policy.assume_unix
    lines = read_hops(plan, hops, empty=assumed)
    return REWRITTEN if lines and is_rewritten(peer, lines, nameless=assumed) else BELIEVED


def read_hops(plan: Plan, hops: Sequence[tuple[Any, Any]], *, empty: bool) -> list[Hop]:
    """
    Return the lines of forwarding headers as text, up to what is in doubt.

    Args:
        plan: the compiled policy.
        hops: the lines, as the protocol spells them.
        empty: whether empty ones count: where something takes the peer from
            such a line, an empty one makes a peer without an address.
    """
    lines: list[Hop] = []
    length = 0
    for key, value in hops:
        if value or empty:
            lines.append(Hop(key == plan.forwarded_key, plan.decode(value)))
            length += len(value)
            if length > LONGEST_LIST:
                break
    return lines


def _is_known(plan: Plan, secret: Any) -> bool:
    from hmac import compare_digest

    line = plan.decode(secret).encode("latin-1", "replace")
    # Every secret is compared, so that the time tells nothing.
    matches = [compare_digest(line, known) for known in plan.secrets]
    return any(matches)
