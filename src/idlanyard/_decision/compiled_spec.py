"""
The rules of one ID, compiled for one protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from idlanyard._decision.protocols import Dialect
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.id_check import IDCheck
from idlanyard._policy.proofs import Proof, proof_of
from idlanyard._policy.sources import Header, Source
from idlanyard._policy.spec import (
    IDSpec,
    check_of,
    needs_sender,
    signatures_of,
    sources_of,
)
from idlanyard.ids import Provenance, token

NOT_VERIFIED: Final = "not verified"
NOT_BY_SERVER: Final = "the server does not say it"
_OWN_PROOFS: Final = (Provenance.MINTED, Provenance.SIGNED, Provenance.CODE)
_UNPROVEN: Final = {Proof.SIGNATURE: NOT_VERIFIED, Proof.SERVER: NOT_BY_SERVER}


class CompiledSpec:
    """
    The rules of one ID as a request needs them.

    Attributes:
        rules: the ``IDSpec``.
        name: the ID.
        index: its place among the values.
        provenance_index: the place of its provenance among them.
        key: the key of its own header.
        spellings: every spelling of its own header.
        is_plain: whether that header, unparsed, is its only source.
        sources: where it is read from: pairs of a header's key, or ``None``, and the source.
        keys: the keys of the headers among them, and its own.
        is_valid: returns something true for a valid value, as the protocol spells it.
        fits: the same for a value that may come in, which needs a signature besides where
            the rules say so.
        needs_proof: whether it has to be proven.
        needs_sender: whether only a trusted sender may set it.
        unproven: the reason why a header is dropped that does not prove the ID, where its
            sources prove it by themselves, or ``None``.
        provenance: the provenance of a value that is accepted.
        always_settled: whether it is settled also if no header claims it.
        mint: makes an ID for a request without one, or ``None``.
        quick_mint: the same, if that raises no question.
        may_refuse: whether a request may be refused because of it.
        is_quick: whether a single valid line of its header raises no question but that
            of the sender.
        echo_name: its header on responses, ``None`` if it is not echoed.
        forward_key: its header as the application sees it, or ``None``.
    """

    __slots__ = (
        "always_settled",
        "echo_name",
        "fits",
        "forward_key",
        "index",
        "is_plain",
        "is_quick",
        "is_valid",
        "key",
        "keys",
        "may_refuse",
        "mint",
        "name",
        "needs_proof",
        "needs_sender",
        "provenance",
        "provenance_index",
        "quick_mint",
        "rules",
        "sources",
        "spellings",
        "unproven",
    )

    def __init__(self, policy: CheckedPolicy, name: str, dialect: Dialect) -> None:
        rules = policy.specs[name]
        self.rules = rules
        self.name = name
        self.index = policy.index[name]
        self.provenance_index = len(policy.names) + self.index
        self.key = dialect.key(rules.header)
        self.spellings: frozenset[Any] = frozenset()
        self.sources: tuple[tuple[Any, Source], ...] = tuple(
            (dialect.key(source.name) if isinstance(source, Header) else None, source)
            for source in sources_of(rules)
        )
        self.keys = {self.key, *(key for key, _ in self.sources if key is not None)}
        (first, source), *others = self.sources
        is_read = isinstance(source, Header) and source.reader is not None
        self.is_plain = first == self.key and not is_read and not others
        self.is_valid = _compile_check(check_of(rules), dialect.text)
        self.fits = _compile_signatures(self.is_valid, rules, dialect)
        self.needs_proof = rules.accept == "proven"
        self._compile_proof()
        self.mint = _compile_mint(policy, rules)
        has_other_source = any(key is None for key, _ in self.sources)
        self.always_settled = self.mint is not None or rules.required or has_other_source
        self.echo_name = dialect.echo(rules.header) if rules.echo else None
        self.forward_key = self.key if rules.forward else None
        # Without a trusted sender such an ID is minted or refused, which a Case does.
        is_settled_anyway = self.needs_proof and (rules.required or self.mint is not None)
        self.may_refuse = (
            rules.required or rules.must_match is not None or rules.on_invalid == "reject"
        )
        self.quick_mint = self.mint if self.is_plain and not rules.required else None
        self.is_quick = (
            self.is_plain and rules.forward and not rules.must_match and not is_settled_anyway
        )

    def accepts(self, provenance: Provenance | None) -> bool:
        """
        Return whether an ID that a middleware around this one has bound is good enough.
        """
        if self.unproven is None and signatures_of(self.rules) is None:
            return not self.needs_proof or (provenance is not None and provenance.proven)
        # Where a signature or the server has to say it, the word of a proxy is not enough.
        return provenance in _OWN_PROOFS

    def _compile_proof(self) -> None:
        proof = proof_of(sources_of(self.rules))
        self.unproven = _UNPROVEN.get(proof)
        self.needs_sender = needs_sender(self.rules)
        self.provenance = Provenance.PEER if self.needs_proof else Provenance.CLIENT
        if proof is Proof.SERVER:
            self.provenance = Provenance.CODE
        elif proof is Proof.SIGNATURE or signatures_of(self.rules) is not None:
            self.provenance = Provenance.SIGNED


def _compile_mint(policy: CheckedPolicy, rules: IDSpec) -> Callable[[], str] | None:
    if rules.mint is None or (rules.mint is token and signatures_of(rules) is None):
        return rules.mint
    return partial(policy.mint, rules.name)


def _compile_check(check: IDCheck, text: type[bytes | str]) -> Callable[[Any], object]:
    if check.pattern is None:
        # The pattern is bounded by the length, so that it reads no further.
        return check.matches_bytes if text is bytes else check.matches

    def fits(value: Any) -> bool:
        as_text = value.decode("latin-1") if text is bytes else value
        return check.reason(as_text) is None

    return fits


def _compile_signatures(
    is_valid: Callable[[Any], object], rules: IDSpec, dialect: Dialect
) -> Callable[[Any], object]:
    signatures, decode = signatures_of(rules), dialect.decode
    if signatures is None:
        return is_valid

    def fits(value: Any) -> bool:
        return bool(is_valid(value)) and signatures.is_signed(decode(value))

    return fits


def find_managed_headers(rules: IDSpec) -> list[Header]:
    """
    Return every header that an ID is read from or written to, each once.
    """
    headers = [source for source in sources_of(rules) if isinstance(source, Header)]
    own = Header(rules.header)
    if all(header.name.lower() != own.name.lower() for header in headers):
        headers.append(own)
    return headers
