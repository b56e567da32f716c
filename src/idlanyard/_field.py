"""
One ID's rules compiled for one protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from idlanyard._policy import Policy
from idlanyard._sources import Header, Source
from idlanyard._spec import IDSpec
from idlanyard._wires import Wire
from idlanyard.ids import IDCheck, Provenance, token


class Field:
    """
    One ID's rules as a request needs them.

    Attributes:
        spec: the rules.
        name: the ID.
        index: its place among the values.
        key: the key of its own header.
        plain: whether that header, unparsed, is its only source.
        sources: where it is read from, each header with its key.
        keys: the keys of the headers among them, and its own.
        fits: whether a value on the wire may pass.
        needs_proof: whether somebody must vouch for it.
        provenance: what a value that is let in is said to be.
        always: whether it is settled also when no header claims it.
        maker: makes one where it is absent, or ``None``.
        simple_maker: the same, where nothing else is to be asked.
        simple: whether nothing is asked of a line but that it fits, and proof.
        echo_name: its header on responses, ``None`` where it is not echoed.
        forward_key: its header as the application sees it, or ``None``.
    """

    __slots__ = (
        "always",
        "echo_name",
        "fits",
        "forward_key",
        "index",
        "key",
        "keys",
        "maker",
        "name",
        "needs_proof",
        "plain",
        "provenance",
        "simple",
        "simple_maker",
        "sources",
        "spec",
    )

    def __init__(self, policy: Policy, name: str, wire: Wire) -> None:
        spec = policy.specs[name]
        self.spec = spec
        self.name = name
        self.index = policy.index[name]
        self.key = wire.key(spec.header)
        self.sources: tuple[tuple[Any, Source], ...] = tuple(
            (wire.key(source.name) if isinstance(source, Header) else None, source)
            for source in spec.read_from
        )
        self.keys = {self.key, *(key for key, _ in self.sources if key is not None)}
        (first, source), *others = self.sources
        parsed = isinstance(source, Header) and source.parse is not None
        self.plain = first == self.key and not parsed and not others
        self.fits = _fits(spec.check, wire.text)
        self.needs_proof = spec.accept == "proven"
        self.provenance = Provenance.PEER if self.needs_proof else Provenance.CLIENT
        self.maker = _maker(policy, spec)
        elsewhere = any(key is None for key, _ in self.sources)
        self.always = self.maker is not None or spec.required or elsewhere
        self.echo_name = wire.echo(spec.header) if spec.echo else None
        self.forward_key = self.key if spec.forward else None
        self.simple_maker = self.maker if self.plain and not spec.required else None
        # What a refused claim entails is asked of a case: see resolve.
        refusable = self.needs_proof and (spec.required or self.maker is not None)
        self.simple = self.plain and spec.forward and not spec.must_match and not refusable


def _maker(policy: Policy, spec: IDSpec) -> Callable[[], str] | None:
    if spec.mint is None or spec.mint is token:
        return spec.mint
    return partial(policy.mint, spec.name)


def managed(spec: IDSpec) -> list[Header]:
    """
    Return every header that an ID is read from or written to, each once.
    """
    headers = [source for source in spec.read_from if isinstance(source, Header)]
    own = Header(spec.header)
    if all(header.name.lower() != own.name.lower() for header in headers):
        headers.append(own)
    return headers


def _fits(check: IDCheck, text: type[bytes | str]) -> Callable[[Any], object]:
    if check.pattern is None:
        # The pattern is bounded by the length, so that it reads no further.
        return check.matches_bytes if text is bytes else check.matches

    def fits(value: Any) -> bool:
        as_text = value.decode("latin-1") if text is bytes else value
        return check.reason(as_text) is None

    return fits
