"""
A policy, compiled once for one protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, Final, TypeAlias

from idlanyard._binding.inheritance import warn_of_inheritance
from idlanyard._binding.snapshot import Values
from idlanyard._binding.state import RequestIDs
from idlanyard._decision.caches import Caches, choose_stored_statuses
from idlanyard._decision.compiled_spec import CompiledSpec, find_managed_headers
from idlanyard._decision.effects import Effects
from idlanyard._decision.forwarding import read_forwarded, read_list
from idlanyard._decision.memory import Memory
from idlanyard._decision.protocols import Dialect, Pair
from idlanyard._decision.session_cookie import SessionCookie
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.header_names import fold_header, is_owned
from idlanyard._policy.peers import parse_address
from idlanyard._policy.policy import Policy, checked_policy, policy_of
from idlanyard._policy.sources import Header


def find_siblings(specs: Iterable[CompiledSpec]) -> list[str]:
    """
    Return the names of the headers that leave every request, each in one spelling.
    """
    headers = [header for spec in specs for header in find_managed_headers(spec.rules)]
    found = {fold_header(name): name for header in headers for name in header.siblings}
    managed = {fold_header(header.name) for header in headers}
    return [name for folded, name in found.items() if folded not in managed]


OWN: Final = 0
ALIAS: Final = 1
CONNECTION: Final = 2
SECRET: Final = 3
SIBLING: Final = 4

Watched: TypeAlias = tuple[Any, int, tuple[CompiledSpec, ...]]
"""
The key of a watched header, its kind, and the IDs that it claims.
"""

_RESPONSE_HEADERS: Final = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")


def _measure_peer(peer: str | None) -> int:
    return 0 if peer is None else len(peer)


_NAMELESS: Final = ("keep-alive", "Keep-Alive", "close", "Close", "upgrade", "Upgrade")
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


def compile_policy(policy: Policy | None, dialect: Dialect) -> CompiledPolicy:
    """
    Return a middleware's policy, compiled; without one, that of the environment.

    Raises:
        PolicyError: the environment describes no policy.
        TypeError: *policy* is not a ``Policy``.
    """
    checked = checked_policy(policy_of(policy))
    warn_of_inheritance()
    return CompiledPolicy(checked, dialect)


class CompiledPolicy:
    """
    A policy as the requests of one protocol need it.

    A header has a key, under which the protocol has it, and other spellings
    that a server may take for it.

    Attributes:
        policy: the policy.
        dialect: the protocol's spelling.
        decode: as in the dialect, like the next five.
        encode: as in the dialect.
        find_lines: as in the dialect.
        find_peer: ``peer`` of the dialect.
        conflates: as in the dialect.
        relayed: as in the dialect.
        binary: whether header values are bytes.
        width: the number of IDs.
        blank: the values of a request without IDs.
        specs: every declared ID.
        always_settled: the IDs that are settled in every request, those whose absence raises
            a question first.
        watched: the headers that the decision depends on, in every spelling: the key,
            the kind, and the IDs that it claims, but for those that are always settled.
        watched_names: their names alone, which is faster to ask.
        spellings: every spelling of each watched header, by its key.
        connection_key: the key of ``Connection``.
        nameless_connections: the usual lines of it, which name no header.
        naming: the watched headers that any line of it names.
        forwarded_key: the key of ``Forwarded``, whose lines have a form of their own.
        hop_keys: the keys of the forwarding headers.
        lists: the addresses of each line of such a header, ``None`` for a malformed one.
        forwarded_lines: the same of each line of ``Forwarded``.
        peer_texts: the address of each peer as these have it.
        trusts: whether each peer is trusted.
        removable: the headers that are removed if they are not accepted, in every spelling.
        kept: the headers that an ID is read out of and that are never removed, in every
            spelling.
        secret_key: the key of the shared secret's header, or ``None``.
        secrets: the secrets.
        echoed: the IDs that responses carry.
        always_echoed: the echo names that no cache rule stops.
        echoed_unless_set: the echo names, in lower case, that the application may set.
        caches: the rules about caches.
        stored_statuses: the statuses that caches store by themselves.
        effects: the effects of a response's headers on the echo.
        cookie: the session cookie, or ``None``.
        marks_private: whether a response without instructions to caches is made private
            when it carries an ID, whichever ID that is, and has no more to change.
        may_exclude: whether there are paths for which nothing is bound.
        warnings: the warnings that came up, each with a counter, whose first number only
            one thread gets.
    """

    __slots__ = (
        "always_echoed",
        "always_settled",
        "binary",
        "blank",
        "caches",
        "conflates",
        "connection_key",
        "cookie",
        "decode",
        "dialect",
        "echoed",
        "echoed_unless_set",
        "effects",
        "encode",
        "find_lines",
        "find_peer",
        "forwarded_key",
        "forwarded_lines",
        "hop_keys",
        "kept",
        "lists",
        "marks_private",
        "may_exclude",
        "nameless_connections",
        "naming",
        "peer_texts",
        "policy",
        "relayed",
        "removable",
        "secret_key",
        "secrets",
        "specs",
        "spellings",
        "stored_statuses",
        "trusts",
        "warnings",
        "watched",
        "watched_names",
        "width",
    )

    def __init__(self, policy: CheckedPolicy, dialect: Dialect) -> None:
        self.policy = policy
        self.dialect = dialect
        self.decode = dialect.decode
        self.encode = dialect.encode
        self.find_lines = dialect.find_lines
        self.find_peer = dialect.peer
        self.conflates = dialect.conflates
        self.relayed = dialect.relayed
        self.binary = dialect.text is bytes
        self.width = len(policy.names)
        self.blank: list[Any] = [None] * (2 * self.width)
        self.specs = tuple(CompiledSpec(policy, name, dialect) for name in policy.specs)
        settled = [spec for spec in self.specs if spec.always_settled]
        # The first refusal is the answer: an ID that is absent comes before one that is not valid.
        self.always_settled = tuple(sorted(settled, key=lambda spec: spec.quick_mint is not None))
        self.may_exclude = bool(policy.exclude) or not policy.enabled
        self.warnings: dict[str, count[int]] = {}
        self._compile_headers()
        self._compile_echo()
        if any(spec.may_refuse for spec in self.specs):
            # Bodies of refusals need it, and to import it takes milliseconds.
            from importlib import import_module

            import_module("json")

    def _compile_headers(self) -> None:
        policy, key = self.policy, self.dialect.key
        secret = policy.secret_header
        self.secrets = policy.secrets
        self.secret_key = key(secret) if secret else None
        self.forwarded_key = key("Forwarded")
        self.connection_key = key("Connection")
        self.watched = self._watch(secret)
        self.watched_names = frozenset(self.watched)
        # A spelling of an ID's header is not what the proxy writes.
        aliases = {name for name, (_, kind, _) in self.watched.items() if kind == ALIAS}
        self.hop_keys = frozenset(map(key, _HOPS)) - aliases
        decode = self.decode
        self.lists: Memory[Any, frozenset[str] | None] = Memory(
            lambda value: read_list(decode(value)), len
        )
        self.forwarded_lines: Memory[Any, frozenset[str] | None] = Memory(
            lambda value: read_forwarded(decode(value)), len
        )
        self.trusts: Memory[str | None, bool] = Memory(policy.peers.trusts, _measure_peer)
        self.peer_texts: Memory[str, str] = Memory(
            lambda peer: str(parse_address(peer) or peer), len
        )
        self.nameless_connections = frozenset(map(self.encode, _NAMELESS))
        self.naming = _remember_named(self.dialect, self.watched)
        spellings: dict[Any, set[Any]] = {}
        for spelling, (own, _, _) in self.watched.items():
            spellings.setdefault(own, set()).add(spelling)
        self.spellings = {own: frozenset(found) for own, found in spellings.items()}
        for spec in self.specs:
            spec.spellings = self.spellings[spec.key]
        headers = [header for spec in self.specs for header in find_managed_headers(spec.rules)]
        kept = {key(header.name) for header in headers if is_owned(header.name)}
        self.kept = self._spell(kept)
        self.removable = self._spell(self._removable_keys(kept))

    def _watch(self, secret: str | None) -> dict[Any, Watched]:
        key, aliases = self.dialect.key, self.dialect.aliases
        watched: dict[Any, Watched] = {self.connection_key: (self.connection_key, CONNECTION, ())}
        if secret is not None:
            own = key(secret)
            watched[own] = own, SECRET, ()
            watched.update(dict.fromkeys(aliases(Header(secret)), (own, ALIAS, ())))
        for sibling in find_siblings(self.specs):
            own = key(sibling)
            watched[own] = own, SIBLING, ()
            watched.update(dict.fromkeys(aliases(Header(sibling)), (own, ALIAS, ())))
        headers = [
            (header, key(header.name), spec)
            for spec in self.specs
            for header in find_managed_headers(spec.rules)
        ]
        claimants: dict[Any, tuple[CompiledSpec, ...]] = {}
        for _, own, spec in headers:
            # Several IDs may read one verified header.
            claimants[own] = claimants.get(own, ()) + (() if spec.always_settled else (spec,))
        for header, own, _ in headers:
            watched.update(dict.fromkeys(aliases(header), (own, ALIAS, claimants[own])))
        # An ID that reads both X-User-ID and X_User_ID has each as a header of its own.
        for own, claiming in claimants.items():
            watched[own] = own, OWN, claiming
        return watched

    def _removable_keys(self, kept: set[Any]) -> set[Any]:
        # A header that is parsed has other readers, unless it is the ID's own, or says who
        # somebody is and is known for nothing else.
        keys = {
            key
            for spec in self.specs
            for header in find_managed_headers(spec.rules)
            if (key := self.dialect.key(header.name)) == spec.key
            or header.reader is None
            or ((spec.needs_proof or header.verify is not None) and key not in kept)
        }
        keys.update(map(self.dialect.key, find_siblings(self.specs)))
        return keys if self.secret_key is None else keys | {self.secret_key}

    def _spell(self, keys: set[Any]) -> frozenset[Any]:
        return frozenset[Any]().union(*(self.spellings[key] for key in keys))

    def _compile_echo(self) -> None:
        policy, name_of = self.policy, self.dialect.echo
        self.echoed = tuple(spec for spec in self.specs if spec.echo_name is not None)
        self.always_echoed = frozenset(
            spec.echo_name for spec in self.echoed if spec.rules.echo == "always"
        )
        self.echoed_unless_set = frozenset(
            name_of(spec.rules.header).lower()
            for spec in self.echoed
            if spec.rules.echo == "unless set"
        )
        merged = [spec.rules.header for spec in self.echoed]
        if policy.expose:
            merged += _RESPONSE_HEADERS
        self.caches = Caches(self.dialect)
        self.stored_statuses = choose_stored_statuses(is_signed=policy.signs("session_id"))
        self.effects = Effects(self.caches, frozenset(name_of(name).lower() for name in merged))
        self.cookie = self._find_cookie()
        self.marks_private = policy.mark_private and not self.always_echoed and self.cookie is None

    def _find_cookie(self) -> SessionCookie | None:
        for spec in self.specs:
            if spec.rules.cookie is not None:
                return SessionCookie(spec, spec.rules.cookie, self.dialect)
        return None

    def excludes(self, raw: Any) -> bool:
        """
        Return whether nothing is bound for a request, because of its path or of any path.
        """
        policy = self.policy
        return not policy.enabled or self.dialect.view(raw, policy).path in policy.exclude

    def echo_pairs(self, inner: RequestIDs) -> list[Pair]:
        """
        Return the response headers that the IDs of a request call for.
        """
        # By name, since a middleware around this one has other IDs at other places.
        values, places = inner.values, inner.policy.index
        # Checked again, since code may have set a value under another policy.
        pairs = [
            (spec.echo_name, value)
            for spec in self.echoed
            if spec.name in places
            and (text := values[places[spec.name]]) is not None
            and spec.is_valid(value := self.encode(text))
        ]
        # A middleware inside another one sets no cookie.
        if self.cookie is not None and inner.policy is self.policy:
            pairs += self.cookie.make_lines(inner, values)
        return pairs

    def forward_pairs(self, values: Values) -> list[Pair]:
        """
        Return the request headers that show *values* to the application.
        """
        return [
            (spec.forward_key, self.encode(values[spec.index]))
            for spec in self.specs
            if spec.forward_key is not None and values[spec.index] is not None
        ]


def _remember_named(dialect: Dialect, watched: Mapping[Any, Any]) -> Memory[Any, list[Any]]:
    """
    Return the memory of the watched headers that a line of ``Connection`` names.
    """

    # A method of the plan would keep the plan, and the IDs that its policy declares, until the
    # garbage collector comes.
    def find_named(value: Any) -> list[Any]:
        keys = [dialect.key(name.strip()) for name in dialect.decode(value).split(",")]
        return [key for key in keys if key in watched]

    return Memory(find_named, len)
