"""
The kinds of proof that sources have: all sources of an ID have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from idlanyard._policy.server_sources import Environ, Scope
from idlanyard._policy.sources import Header, Source


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
