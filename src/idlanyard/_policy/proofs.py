"""
The kinds of proof that sources have: all sources of an ID have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from idlanyard._policy.server_sources import Environ, Scope
from idlanyard._policy.sources import Header, Source
from idlanyard.exceptions import PolicyError


class Proof(Enum):
    """
    The proof of a value that a source returns.
    """

    SENDER = "a header, which is as good as its sender"
    SIGNATURE = "a signature"
    SERVER = "the server, whatever the client sends"
    NONE = "nothing"


def find_proof(source: Source) -> Proof:
    """
    Return the proof that one source has.
    """
    if isinstance(source, Header):
        return Proof.SENDER if source.verify is None else Proof.SIGNATURE
    return Proof.SERVER if isinstance(source, Scope | Environ) else Proof.NONE


def find_mixture(sources: Sequence[Source]) -> tuple[Source, Source] | None:
    """
    Return two sources of one ID of which one is proven by itself and the other is not.
    """
    proofs = [find_proof(source) for source in sources]
    for source, proof in zip(sources, proofs, strict=True):
        if proof is not proofs[0] and {proof, proofs[0]} & {Proof.SIGNATURE, Proof.SERVER}:
            return sources[0], source
    return None


def proof_of(sources: Sequence[Source]) -> Proof:
    """
    Return the proof of the sources of one ID.
    """
    return find_proof(sources[0])


def asks_for_peers(sources: Sequence[Source]) -> bool:
    """
    Return whether a verified header needs a trusted sender besides.
    """
    return any(isinstance(source, Header) and source.peers_too for source in sources)


def check_proofs(name: str, accept: str, sources: Sequence[Source]) -> None:
    """
    Refuse sources of an ID whose proofs do not go together, or are not what it needs.

    Args:
        name: the name of the ID.
        accept: as in ``IDSpec``.
        sources: its sources.

    Raises:
        PolicyError: the message says what to write.
    """
    _check_mixture(name, sources)
    _check_fields(name, sources)
    if accept == "proven":
        _check_proof(name, sources)


def _check_mixture(name: str, sources: Sequence[Source]) -> None:
    """
    Refuse a source beside one that is proven by itself: whoever lacks that proof would use it.
    """
    mixture = find_mixture(sources)
    if mixture is not None:
        one, other = mixture
        raise PolicyError.about(
            "sources",
            f"of {name} has {one!r}, proven by {find_proof(one).value}, beside {other!r}, "
            f"proven by {find_proof(other).value}: leave one out, or declare another ID for it",
            other,
        )


def _check_fields(name: str, sources: Sequence[Source]) -> None:
    """
    Refuse a source that is signed for another ID.
    """
    for source in sources:
        of = getattr(source, "field", name)
        if of != name:
            raise PolicyError.about(
                "sources",
                f"of {name} has a header that is signed for {of}: write "
                f"field={name!r} there, and let it be signed for that",
                source,
            )


def _check_proof(name: str, sources: Sequence[Source]) -> None:
    """
    Refuse sources that only the client can set, for an ID that needs proof.
    """
    for source in sources:
        if find_proof(source) is Proof.NONE:
            raise PolicyError.about(
                "sources",
                f"of {name} has {source!r}, the client's own word, which no proxy vouches "
                f"for: read proven IDs from headers only, or write accept='anyone'",
                source,
            )
