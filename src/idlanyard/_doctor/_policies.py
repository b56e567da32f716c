"""
The policy of the application, caught when the middleware binds the IDs of a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

from idlanyard._binding.events import Event
from idlanyard._binding.state import get_binding
from idlanyard._doctor._observations import Rules
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.peers import UNIX
from idlanyard._policy.policy import Policy, checked_policy
from idlanyard._policy.posture import explain_policy
from idlanyard._policy.proofs import Proof, proof_of
from idlanyard._policy.sources import Header
from idlanyard._policy.spec import IDSpec, check_of, needs_sender, signatures_of, sources_of

_TRIES: Final = 3


class Caught:
    """
    The IDs and the policy of the request that was bound last.

    Attributes:
        policy: the policy of the outermost middleware, or ``None`` so far.
        bound: the IDs of the last request with their provenances.
    """

    def __init__(self) -> None:
        self.policy: CheckedPolicy | None = None
        self.bound: dict[str, tuple[str, str]] = {}

    def keep(self, event: Event) -> None:
        """
        Keep the IDs of a request: a subscriber of ``bind``.
        """
        if event.begins != "request":
            return
        self.policy = get_binding().policy
        ids = event.context.as_dict()
        self.bound = {
            name: (value, str(event.context.provenance(name))) for name, value in ids.items()
        }


def read_rules(policy: CheckedPolicy | None) -> Rules:
    """
    Return the part of a policy that the checks need; without one, that of the default policy.
    """
    rules = checked_policy(Policy()) if policy is None else policy
    session = find_session(rules) if rules.enabled else None
    return Rules(
        session="X-Session-ID" if session is None else session.header,
        identities=[spec.header for spec in rules.specs.values() if needs_sender(spec)],
        is_minted=session is not None and session.mint is not None,
        is_read=session is not None and _is_read(session) and rules.admission is None,
        is_echoed=session is not None and bool(session.echo),
        is_logged=session is not None and session.log == "clear",
        is_signed=rules.signs("session_id"),
        believes_anybody=rules.peers.anybody,
        trusts_addresses=any(entry != UNIX for entry in rules.peers.entries),
        has_secret=rules.secret_header is not None,
        lines=[] if policy is None else explain_policy(rules, rules.exclude.entries).splitlines(),
        excluded=[*rules.exclude.entries],
    )


def find_session(rules: CheckedPolicy) -> IDSpec | None:
    """
    Return the rules of the session ID, or of another ID that anyone may send.
    """
    specs = [*rules.specs.values()]
    return next((spec for spec in specs if spec.accept == "anyone"), None)


def _is_read(spec: IDSpec) -> bool:
    """
    Return whether an ID is read from its own header, whoever sends it.
    """
    sources = sources_of(spec)
    plain = [one for one in sources if isinstance(one, Header) and one.name == spec.header]
    if not plain or plain[0].parse is not None or signatures_of(spec) is not None:
        return False
    return proof_of(sources) is Proof.SENDER and not needs_sender(spec)


def make_sessions(policy: CheckedPolicy | None) -> Iterator[str]:
    """
    Return session IDs that are valid under a policy, each another one, without end.
    """
    session = None if policy is None else find_session(policy)
    while True:
        yield _make_session(session)


def _make_session(session: IDSpec | None) -> str:
    uuid = uuid4()
    texts = [f"doctor-{uuid.hex[:20]}", uuid.hex, str(uuid), str(uuid.int)[: _TRIES * 6]]
    if session is None:
        return texts[0]
    check = check_of(session)
    valid = [text for text in texts if check.reason(text) is None]
    return (valid or [_mint_session(session)])[0]


def _mint_session(session: IDSpec) -> str:
    mint: Any = session.mint
    return str(mint()) if mint is not None else ""
