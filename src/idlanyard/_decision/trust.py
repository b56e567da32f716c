"""
The sender of a request: whether it may set user and tenant IDs, and why not.
"""

from __future__ import annotations

from typing import Any, Final

from idlanyard._decision.forwarding import NAMELESS
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._policy.peers import LONGEST_LIST, UNIX

TRUSTED: Final = ""
NOBODY: Final = "nobody is trusted"
STRANGER: Final = "the peer is not trusted"
REWRITTEN: Final = "the peer was rewritten"
RELAYED: Final = "the peer comes from the PROXY protocol"
CONFLATES: Final = "the server may let an alias win"
MISSING_PROOF: Final = "the shared secret is missing"
WRONG_PROOF: Final = "the shared secret is wrong"


def judge_sender(plan: CompiledPolicy, secret: Any, raw: Any) -> str:
    """
    Return the reason why the sender may not set user and tenant IDs, or ``TRUSTED``.

    Args:
        plan: the compiled policy.
        secret: the value of the shared secret's header, ``None`` if it is missing.
        raw: the ``scope`` or ``environ``.
    """
    policy = plan.policy
    peers = policy.peers
    if peers.nobody and not plan.secrets:
        return NOBODY
    # A secret proves who the sender is, not which of two spellings the server kept.
    if not policy.unsafe_server_ok and plan.conflates(raw):
        return CONFLATES
    if secret is not None and _is_shared_secret(plan, secret):
        return TRUSTED
    if peers.everyone:
        return TRUSTED
    peer = plan.find_peer(raw, policy)
    # Before any header of the request is parsed, since a stranger may have written it.
    if not plan.trusts[peer]:
        if not plan.secrets or (secret is None and not peers.nobody):
            return STRANGER
        return MISSING_PROOF if secret is None else WRONG_PROOF
    if plan.relayed(raw):
        return RELAYED
    # A path that the server listens on is evidence that no header can forge.
    if peer is None or (peer == UNIX and plan.binary and not policy.assume_unix):
        return TRUSTED
    return REWRITTEN if _is_rewritten(plan, peer, raw) else TRUSTED


def _is_rewritten(plan: CompiledPolicy, peer: str, raw: Any) -> bool:
    """
    Return whether the address of *peer* may come from a forwarding header of the request.

    A server or an outer middleware may have overwritten the sender's address
    with one that the sender wrote. That is assumed if the peer is also in a
    forwarding header, if an element of one is not exactly an address (a server
    may read more out of it than this function does), and for lists over 8,192
    characters.
    """
    # If a unix socket is only assumed, an element without an address may have made the peer,
    # and so may an empty line.
    assumed = peer == UNIX and plan.policy.assume_unix
    own = NAMELESS if assumed else plan.peer_texts[peer]
    length, keys = 0, plan.hop_keys
    for name, value in plan.find_lines(raw, keys):
        if name not in keys or (not value and not assumed):
            continue
        length += len(value)
        if length > LONGEST_LIST:
            return True
        lines = plan.forwarded_lines if name == plan.forwarded_key else plan.lists
        # A bytearray has no hash.
        addresses = lines[bytes(value) if value.__class__ is bytearray else value]
        if addresses is None or own in addresses:
            return True
    return False


def _is_shared_secret(plan: CompiledPolicy, secret: Any) -> bool:
    from hmac import compare_digest

    line = plan.decode(secret).encode("latin-1", "replace")
    # Every secret is compared, so that the time does not depend on which one matches.
    matches = [compare_digest(line, known) for known in plan.secrets]
    return any(matches)
