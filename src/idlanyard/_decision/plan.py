"""
A policy and its IDs, compiled once for one protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import count
from typing import Any, Final

from idlanyard._binding.inheritance import warn_of_inheritance
from idlanyard._binding.snapshot import Values
from idlanyard._decision.caches import Caches
from idlanyard._decision.known_sessions import KnownSessions
from idlanyard._decision.protocols import Wire
from idlanyard._policy.checked import CheckedPolicy
from idlanyard._policy.header_names import is_owned
from idlanyard._policy.id_check import IDCheck
from idlanyard._policy.policy import Policy, checked_policy, policy_of
from idlanyard._policy.sources import Header, Source
from idlanyard._policy.spec import IDSpec, check_of, sources_of
from idlanyard.ids import Provenance, token


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

    def __init__(self, policy: CheckedPolicy, name: str, wire: Wire) -> None:
        spec = policy.specs[name]
        self.spec = spec
        self.name = name
        self.index = policy.index[name]
        self.key = wire.key(spec.header)
        self.sources: tuple[tuple[Any, Source], ...] = tuple(
            (wire.key(source.name) if isinstance(source, Header) else None, source)
            for source in sources_of(spec)
        )
        self.keys = {self.key, *(key for key, _ in self.sources if key is not None)}
        (first, source), *others = self.sources
        parsed = isinstance(source, Header) and source.parse is not None
        self.plain = first == self.key and not parsed and not others
        self.fits = _fits(check_of(spec), wire.text)
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


def _maker(policy: CheckedPolicy, spec: IDSpec) -> Callable[[], str] | None:
    if spec.mint is None or spec.mint is token:
        return spec.mint
    return partial(policy.mint, spec.name)


def managed(spec: IDSpec) -> list[Header]:
    """
    Return every header that an ID is read from or written to, each once.
    """
    headers = [source for source in sources_of(spec) if isinstance(source, Header)]
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


OWN: Final = 0
ALIAS: Final = 1
CONNECTION: Final = 2
HOP: Final = 3
SECRET: Final = 4

_RESPONSE_HEADERS: Final = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
_HARMLESS: Final = ("keep-alive", "Keep-Alive", "close", "Close", "upgrade", "Upgrade")
_HOPS: Final = (
    "X-Forwarded-For",
    "X-Real-IP",
    "Forwarded",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "True-Client-IP",
)


def plan_for(policy: Policy | None, wire: Wire) -> Plan:
    """
    Return the plan of a middleware's policy; without one, of the environment's.

    Raises:
        PolicyError: the environment describes no policy.
        TypeError: *policy* is not a ``Policy``.
    """
    checked = checked_policy(policy_of(policy))
    warn_of_inheritance()
    return Plan(checked, wire)


class Plan:
    """
    A policy as one protocol's requests need it.

    Attributes:
        policy: what was compiled.
        wire: for which protocol.
        binary: whether header values are bytes.
        width: how many IDs there are.
        blank: the values of a request that has none.
        fields: every declared ID.
        always: those settled in every request.
        harmless: the values of Connection that name no header.
        lines: own key and kind of every spelling of a header we look at, and
            the ID that it claims, unless that is settled in every request.
        watched: the spellings themselves.
        spellings: every spelling of each header, by its own key.
        forwarded_key: the header ``Forwarded``, whose lines have a form of their own.
        simple: the IDs whose lines need nothing but proof, by their header.
        hop_keys: the keys of forwarding headers.
        owned: the keys of headers that an ID is read out of and that never leave.
        strips: the keys of the headers that leave where they are not believed.
        secret_key: the shared secret's header.
        secrets: the secrets.
        session_key: the session's header, if it has one.
        echoed: those that responses carry.
        always_echoed: the echo names that no cache rule stops.
        yielding: those, in lower case, that leave the application's own alone.
        echo_watched: the response headers that the echo depends on, besides
            those that tell caches what to do.
        caches: the rules about those, and what is known of their lines.
        marks: whether every echo of a response that says nothing to caches
            makes it private.
        admission: the policy's rules for known sessions, or ``None``.
        known_sessions: who asks by those.
        partial: whether there are paths for which nothing is bound.
        plain_names: response headers seen that the echo does not depend on;
            bounded.
        told: how often each thing was warned about; the first time is logged.
    """

    __slots__ = (
        "admission",
        "always",
        "always_echoed",
        "binary",
        "blank",
        "caches",
        "echo_watched",
        "echoed",
        "fields",
        "forwarded_key",
        "harmless",
        "hop_keys",
        "known_sessions",
        "lines",
        "marks",
        "owned",
        "partial",
        "plain_names",
        "policy",
        "secret_key",
        "secrets",
        "session_key",
        "simple",
        "spellings",
        "strips",
        "told",
        "watched",
        "width",
        "wire",
        "yielding",
    )

    def __init__(self, policy: CheckedPolicy, wire: Wire) -> None:
        self.policy = policy
        self.wire = wire
        self.binary = wire.text is bytes
        self.width = len(policy.names)
        self.blank: Values = (None,) * (2 * self.width)
        self.fields = tuple(Field(policy, name, wire) for name in policy.specs)
        self.always = tuple(field for field in self.fields if field.always)
        header = policy.secret_header
        self.secrets = policy.secrets
        self.secret_key = wire.key(header) if header else None
        self.lines = self._lines(header)
        self.harmless = frozenset(self.encode(word) for word in _HARMLESS)
        self.watched = frozenset(self.lines)
        self.spellings = self._spellings()
        self.forwarded_key = wire.key("Forwarded")
        self.simple = {field.key: field for field in self.fields if field.simple}
        self.hop_keys = frozenset(map(wire.key, _HOPS))
        read = [header.name for field in self.fields for header in managed(field.spec)]
        self.owned = frozenset(wire.key(name) for name in read if is_owned(name))
        self.strips = frozenset(self._strips())
        session = policy.specs.get("session_id")
        self.session_key = wire.key(session.header) if session else None
        self.echoed = tuple(field for field in self.fields if field.echo_name is not None)
        self.always_echoed = frozenset(
            field.echo_name for field in self.echoed if field.spec.echo == "always"
        )
        self.yielding = frozenset(
            wire.echo(field.spec.header).lower()
            for field in self.echoed
            if field.spec.echo == "unless set"
        )
        self.echo_watched = frozenset(
            [wire.echo(name).lower() for name in _RESPONSE_HEADERS]
            + [wire.echo(field.spec.header).lower() for field in self.echoed]
        )
        self.caches = Caches(wire)
        self.marks = policy.mark_private and not self.always_echoed
        self.admission = policy.admission
        if policy.admission is not None:
            self.known_sessions = KnownSessions(policy.admission)
        self.partial = bool(policy.exclude) or not policy.enabled
        self.told: dict[str, count[int]] = {}
        self.plain_names: set[Any] = set()

    def _lines(self, secret: str | None) -> dict[Any, tuple[Any, int, Field | None]]:
        key, aliases = self.wire.key, self.wire.aliases
        lines: dict[Any, tuple[Any, int, Field | None]] = {
            key(name): (key(name), HOP, None) for name in _HOPS
        }
        lines[key("Connection")] = key("Connection"), CONNECTION, None
        headers = [(header, OWN, field) for field in self.fields for header in managed(field.spec)]
        if secret is not None:
            lines[key(secret)] = key(secret), SECRET, None
            lines.update({alias: (key(secret), ALIAS, None) for alias in aliases(Header(secret))})
        for header, kind, field in headers:
            own, claimant = key(header.name), None if field.always else field
            lines[own] = own, kind, claimant
            lines.update(dict.fromkeys(aliases(header), (own, ALIAS, claimant)))
        return lines

    def _spellings(self) -> dict[Any, frozenset[Any]]:
        spellings: dict[Any, set[Any]] = {}
        for spelling, (own, _, _) in self.lines.items():
            spellings.setdefault(own, set()).add(spelling)
        return {own: frozenset(found) for own, found in spellings.items()}

    def _strips(self) -> set[Any]:
        # A header that is parsed is somebody else's as well, unless it is the ID's own, or
        # says who somebody is and is known for nothing else.
        keys = {
            key
            for field in self.fields
            for header in managed(field.spec)
            if (key := self.wire.key(header.name)) == field.key
            or header.parse is None
            or (field.needs_proof and key not in self.owned)
        }
        return keys if self.secret_key is None else keys | {self.secret_key}

    def leaves_out(self, raw: Any) -> bool:
        """
        Return whether nothing is bound for this request: for its path, or for every one.
        """
        policy = self.policy
        return not policy.enabled or self.wire.view(raw, policy).path in policy.exclude

    def without(
        self, headers: list[tuple[Any, Any]], gone: Collection[Any]
    ) -> list[tuple[Any, Any]]:
        """
        Return *headers* without any spelling of those whose keys are *gone*.
        """
        leaving: set[Any] = set()
        leaving.update(*(self.spellings[key] for key in gone))
        return [pair for pair in headers if pair[0] not in leaving]

    def echo_pairs(self, values: Values) -> list[tuple[Any, Any]]:
        """
        Return the response headers that *values* call for.
        """
        # Checked once more: code may have set it under another policy (S7).
        return [
            (field.echo_name, value)
            for field in self.echoed
            if values[field.index] is not None
            and field.fits(value := self.encode(values[field.index]))
        ]

    def forward_pairs(self, values: Values) -> list[tuple[Any, Any]]:
        """
        Return the request headers by which the application sees *values*.
        """
        return [
            (field.forward_key, self.encode(values[field.index]))
            for field in self.fields
            if field.forward_key is not None and values[field.index] is not None
        ]

    def encode(self, text: str) -> Any:
        """
        Return text as this protocol's header values are; what is not ASCII never fits.
        """
        return text.encode("ascii", "backslashreplace") if self.binary else text

    def decode(self, value: Any) -> str:
        """
        Return a header value of this protocol as text.
        """
        text: str = value.decode("latin-1") if self.binary else value
        return text
