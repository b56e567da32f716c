"""
The proofs of carriers, and the carriers that a process believes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import ClassVar, Final, cast

from idlanyard import _failures
from idlanyard._binding.runtime import call_after_fork
from idlanyard._binding.state import Delta
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.keys import PROOF_DIGITS
from idlanyard._policy.spec import signatures_of
from idlanyard.ids import Provenance

PROOF: Final = "proof"
"""
The key of a carrier's proof, which is the name of no ID.
"""

PROOF_LENGTH: Final = len(f', "{PROOF}": [""]') + PROOF_DIGITS
"""
The length that a proof adds to a carrier as JSON.
"""

MOST_REMEMBERED: Final = 10_000
_WARNINGS: Final = {
    "unsigned": (
        "idlanyard: the %s of a job or message counts as a client's word, as nothing proves that a "
        "process of yours has written it: give senders and receivers the same "
        "Policy(queue_keys=[...]), or give the receivers Policy(trusted_queue=True) if nobody else "
        "can write to the queue; a worker needs use_policy(policy)"
    ),
    "no keys": (
        "idlanyard: the %s of a job or message counts as a client's word, as it is signed and this "
        "process has no key to verify it: call use_policy(Policy(queue_keys=[...])) with the keys "
        "of its sender"
    ),
    "wrong": (
        "idlanyard: the %s of a job or message counts as a client's word, as none of queue_keys "
        "has signed it: add the key of its sender to queue_keys; if it is there, somebody has "
        "changed the message"
    ),
}


class _Written:
    """
    The carriers with proven IDs that this process has written lately, as digests.

    A forked child is another process, and begins without any.

    Attributes:
        lock: held while a digest is added.
        digests: of the carriers with an ID that has to be proven.
        anonymous: of the others, such as those with a minted session alone:
            any client can cause as many as it likes, and pushes out no user.
    """

    # Reentrant, since a signal may interrupt dump() by a function that calls it.
    lock: ClassVar[threading.RLock] = threading.RLock()
    digests: ClassVar[OrderedDict[bytes, None]] = OrderedDict()
    anonymous: ClassVar[OrderedDict[bytes, None]] = OrderedDict()

    @classmethod
    def renew(cls) -> None:
        """
        Forget all, and replace the lock, which another thread may have held at a fork.
        """
        cls.lock, cls.digests, cls.anonymous = threading.RLock(), OrderedDict(), OrderedDict()

    @classmethod
    def add(cls, digest: bytes, *, is_anonymous: bool) -> None:
        """
        Remember a carrier, and forget the one of its kind that was written longest ago.
        """
        with cls.lock:
            digests = cls.anonymous if is_anonymous else cls.digests
            digests[digest] = None
            digests.move_to_end(digest)
            if len(digests) > MOST_REMEMBERED:
                digests.popitem(last=False)

    @classmethod
    def has(cls, digest: bytes) -> bool:
        """
        Return whether a carrier is remembered.
        """
        return digest in cls.digests or digest in cls.anonymous


call_after_fork(_Written.renew)


def seal_carrier(carrier: dict[str, list[str]], policy: CheckedPolicy) -> dict[str, list[str]]:
    """
    Return a carrier with its proof, if the policy has keys, and remember it as written here.
    """
    text = _write_entries(carrier) if carrier else None
    if text is None:
        return carrier
    proven = [name for name, (_, how) in carrier.items() if Provenance(how).proven]
    proof = None if policy.queue_proofs is None else policy.queue_proofs.prove(text)
    if proven:
        is_anonymous = all(policy.specs[name].accept == "anyone" for name in proven)
        _Written.add(_make_digest(text, proof), is_anonymous=is_anonymous)
    return carrier if proof is None else carrier | {PROOF: [proof]}


def is_known_carrier(carrier: object, policy: CheckedPolicy) -> bool:
    """
    Return whether a carrier is known to be what ``dump`` has returned.

    Either one of the policy's keys has signed it, whatever its names are, or
    the policy has no keys, and this process has written it, with names that
    the policy declares.

    Args:
        carrier: hostile input.
        policy: the current policy.
    """
    if not isinstance(carrier, Mapping):
        return False
    entries = cast("Mapping[str, object]", carrier)
    text, proof = _write_entries(entries), _read_proof(entries)
    if text is None:
        return False
    if policy.queue_proofs is None:
        is_declared = entries.keys() - {PROOF} <= policy.index.keys()
        return is_declared and _Written.has(_make_digest(text, proof))
    # A text that a process remembers may be known to others; a signature of it may not.
    return proof is not None and policy.queue_proofs.is_proof(proof, text)


def believe_claims(claims: Delta, carrier: Mapping[str, object], policy: CheckedPolicy) -> Delta:
    """
    Return the claims of a carrier that is not known, believed only if the queue is trusted.

    Args:
        claims: the IDs of the carrier, with the provenances that it names.
        carrier: hostile input.
        policy: the current policy.
    """
    proven = {name for name, (_, how) in claims.items() if how is not None and how.proven}
    doubt = _find_doubt(carrier, policy) if proven else None
    if doubt is None:
        return claims
    judged = dict(claims)
    for name in proven:
        judged[name] = _lower_claim(name, claims[name][0], policy)
        if policy.specs[name].accept == "proven" and judged[name][1] is Provenance.CLIENT:
            _failures.warn_once(f"carrier {doubt}", _WARNINGS[doubt], name)
    return judged


def _lower_claim(
    name: str, value: str | None, policy: CheckedPolicy
) -> tuple[str | None, Provenance]:
    """
    Return an ID as it would be believed in a request of a stranger: only by its own signature.
    """
    signatures = signatures_of(policy.specs[name])
    if signatures is not None and value is not None and signatures.is_signed(value):
        return value, Provenance.SIGNED
    return value, Provenance.CLIENT


def _find_doubt(carrier: Mapping[str, object], policy: CheckedPolicy) -> str | None:
    """
    Return the reason for which a carrier is not believed, a key of ``_WARNINGS``, or ``None``.
    """
    is_signed = _read_proof(carrier) is not None
    if is_signed and policy.queue_proofs is not None:
        return "wrong"
    if policy.trusted_queue:
        return None
    return "no keys" if is_signed else "unsigned"


def _read_proof(carrier: Mapping[str, object]) -> str | None:
    """
    Return the proof of a carrier, ``""`` for something else in its place, ``None`` for nothing.
    """
    entry = carrier.get(PROOF)
    if entry is None:
        return None
    parts = cast("Sequence[object]", entry) if isinstance(entry, list | tuple) else ()
    proof = parts[0] if len(parts) == 1 else None
    return proof if isinstance(proof, str) else ""


def _write_entries(carrier: Mapping[str, object]) -> str | None:
    """
    Return all entries of a carrier but its proof as one text, which no other carrier has.

    Returns:
        Compact JSON of ``[name, value, provenance]``, by name, or ``None`` if
        an entry is not of the form that ``dump`` writes.
    """
    entries: list[list[str]] = []
    for name, entry in carrier.items():
        if name == PROOF:
            continue
        parts = [name, *cast("Sequence[object]", entry if isinstance(entry, list | tuple) else ())]
        # Beyond ASCII two texts have one JSON: a character, and the two surrogates that write it.
        texts = [part for part in parts if isinstance(part, str) and part.isascii()]
        if len(parts) != 3 or len(texts) != 3:
            return None
        entries.append(texts)
    return _make_encoder()(sorted(entries))


@cache
def _make_encoder() -> Callable[[object], str]:
    """
    Return the function that writes compact JSON; ``json.dumps`` would make it anew each time.
    """
    # Imported where there are jobs only.
    from json import JSONEncoder

    return JSONEncoder(separators=(",", ":")).encode


def _make_digest(text: str, proof: str | None) -> bytes:
    """
    Return what is remembered of a carrier.
    """
    from hashlib import sha256

    return sha256(f"{text} {proof!a}".encode("ascii")).digest()[:16]
