"""
``Policy``: the rules for all IDs of a service; checked when built.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import wraps
from inspect import signature
from typing import Any, ClassVar, Final, Literal, ParamSpec, TypeAlias, TypeVar, cast
from weakref import ref

from idlanyard import _failures, ids
from idlanyard._policy import checks
from idlanyard._policy.admission import Admission
from idlanyard._policy.checks import explain_unknown, say_undeclared
from idlanyard._policy.default_specs import session_spec, tenant_spec, user_spec
from idlanyard._policy.environment import in_the_environment, misspelt_in, options_from
from idlanyard._policy.options import Options
from idlanyard._policy.paths import Paths
from idlanyard._policy.peers import EVERYONE, Everyone, TrustedPeers
from idlanyard._policy.spec import STANDARD, IDSpec
from idlanyard.exceptions import PolicyError
from idlanyard.ids import IDCheck

Secrets: TypeAlias = str | bytes | Sequence[str | bytes]
_store: Final = object.__setattr__
_DEFAULT_CHECK: Final = IDCheck()


class Declared:
    """
    The IDs that the policies of this process declare, for lines outside their requests.

    Attributes:
        names: of every ID, the standard ones first; another tuple whenever
            they change.
    """

    names: tuple[str, ...] = STANDARD
    _policies: ClassVar[list[ref[Policy]]] = []

    @classmethod
    def add(cls, policy: Policy) -> None:
        """
        Know the IDs of *policy* for as long as somebody has it.
        """
        cls._renew([*cls._policies, ref(policy, cls._forget)])

    @classmethod
    def _forget(cls, gone: ref[Policy]) -> None:
        cls._renew([one for one in cls._policies if one is not gone])

    @classmethod
    def _renew(cls, policies: list[ref[Policy]]) -> None:
        cls._policies = policies
        alive = [policy for one in policies if (policy := one()) is not None]
        names = tuple(dict.fromkeys((*STANDARD, *(name for one in alive for name in one.names))))
        if names != cls.names:
            cls.names = names


@dataclass(frozen=True, kw_only=True)
class Policy(Options):
    """
    What is read, who is believed, and where the IDs go. Immutable.

    Args:
        session: the session ID's rules, or ``None`` to leave it out.
        user: the user ID's rules, or ``None``.
        tenant: the tenant ID's rules, or ``None``.
        extra: rules of further IDs, such as ``request_spec()``.
        trusted_peers: who may speak for users and tenants: networks,
            ``"unix"``, or ``EVERYONE``. Empty trusts nobody. ``EVERYONE``,
            and networks that hold every public address, warn.
        shared_secret: ``(header, secret)`` or ``(header, [new, old])``, each
            secret at least 32 bytes: a sender who knows one is believed too.
        exclude: paths for which nothing is read, minted or echoed: exact
            ones, as ``"/health"``, or prefixes, as ``"/static/*"``, which is
            ``/static/`` and all below, but neither ``/static`` nor
            ``/staticx``.
        expose: name the echoed headers to browsers (CORS) where the response
            allows an origin.
        mark_private: make a response with IDs ``Cache-Control: private`` where
            it says nothing about caches and they would keep it; ``False``
            leaves it alone and echoes nothing there.
        assume_unix: take a peer without an address for a unix socket, on
            servers that say nothing better. Whatever is no address counts as
            unix then, so never set it where the server also listens on TCP,
            or rewrites the peer from a forwarding header.
        unsafe_server_ok: believe peers also on servers that let an alias of
            a header, as ``X_User_ID``, replace it.
        hash_keys: ``(key ID, key)`` pairs for the ``"hash"`` sinks; the first
            one writes.
        enabled: ``False`` binds nothing anywhere, and still sanitises.
        admission: take only session IDs that are known, as
            ``Admission(registry.exists)``.

    Raises:
        PolicyError: a rule that cannot be followed; the message says what to
            write instead.
    """

    session: IDSpec | None = field(default_factory=session_spec)
    user: IDSpec | None = field(default_factory=user_spec)
    tenant: IDSpec | None = field(default_factory=tenant_spec)
    extra: Sequence[IDSpec] = ()
    trusted_peers: Iterable[object] | Everyone = ()
    shared_secret: tuple[str, str | bytes | Sequence[str | bytes]] | None = field(
        default=None, repr=False
    )
    exclude: Sequence[str] = ()
    expose: bool = False
    mark_private: bool = True
    assume_unix: bool = False
    unsafe_server_ok: bool = False
    hash_keys: Sequence[tuple[str, str | bytes]] = field(default=(), repr=False)
    enabled: bool = True
    admission: Admission | None = None
    specs: Mapping[str, IDSpec] = field(init=False, repr=False, compare=False)
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    index: Mapping[str, int] = field(init=False, repr=False, compare=False)
    environ_keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    peers: TrustedPeers = field(init=False, repr=False, compare=False)
    secrets: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    keys: tuple[tuple[str, bytes], ...] = field(init=False, repr=False, compare=False)
    _excluded: Paths = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _store(self, "extra", checks.parse_extra(self.extra))
        _store(self, "peers", TrustedPeers(self.trusted_peers))
        _store(self, "trusted_peers", self.peers.entries)
        _store(self, "shared_secret", checks.parse_secret(self.shared_secret))
        _store(self, "secrets", self.shared_secret[1] if self.shared_secret else ())
        _store(self, "exclude", checks.parse_paths(self.exclude))
        _store(self, "_excluded", Paths(self.exclude))
        _store(self, "keys", checks.parse_hash_keys(self.hash_keys))
        _store(self, "hash_keys", self.keys)
        _store(self, "specs", checks.check_policy(self))
        names = STANDARD + tuple(spec.name for spec in self.extra)
        _store(self, "names", names)
        _store(self, "environ_keys", tuple(f"idlanyard.{name}" for name in names))
        _store(self, "index", {name: position for position, name in enumerate(names)})
        if self.extra:
            Declared.add(self)
        if self.peers.anybody:
            _failures.LOGGER.warning(
                "idlanyard: trusted_peers%s believes the user and tenant that any client claims: "
                "use it only where none but your proxy can connect",
                "=EVERYONE" if self.peers.everyone else ", which holds every public address,",
            )

    @classmethod
    def _refuse_name(cls, name: str, value: object, names: list[str], /) -> str:
        return checks.explain_unknown(name, value, names)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Policy:
        """
        Return the policy that the environment describes.

        - ``IDLANYARD_TRUSTED_PEERS``: ``10.0.0.5,10.1.0.0/16,unix``, or
          ``everyone``;
        - ``IDLANYARD_SHARED_SECRET``: ``X-Proxy-Secret:secret``, several
          secrets separated by commas, the new one first;
        - ``IDLANYARD_ENABLED``: ``1``, ``true``, ``yes`` or ``on``; ``0``,
          ``false``, ``no`` or ``off``.

        A variable that looks like one of these or of the static IDs, but is
        none, is warned about.

        Args:
            environ: where to read it.

        Raises:
            PolicyError: a variable cannot be understood; the message says
                what to write.
        """
        options = options_from(environ)
        for name, meant in misspelt_in(environ):
            _failures.LOGGER.warning("idlanyard: nothing reads %s: did you mean %s?", name, meant)
        try:
            return cls(**options)
        except PolicyError as error:
            raise in_the_environment(error) from error

    def excludes(self, path: str) -> bool:
        """
        Return whether *path* is one for which nothing is read, minted or echoed.
        """
        return path in self._excluded

    def check(self, name: str) -> IDCheck:
        """
        Return what the ID *name* may look like.

        Raises:
            TypeError: no such ID is declared.
        """
        spec = self.specs.get(name)
        if spec is not None:
            return spec.check
        if name in STANDARD:
            return _DEFAULT_CHECK
        raise TypeError(say_undeclared(name, self.names))

    def shown(self, sink: Literal["log", "span"], name: str, value: str) -> str | None:
        """
        Return what *sink* shows of the ID *name*: the ID, its hash, or ``None``.
        """
        spec = self.specs.get(name)
        how = "clear" if spec is None else getattr(spec, sink)
        if how == "clear":
            return value
        return self.pseudonym(name, value) if how == "hash" else None

    def pseudonym(self, name: str, value: str) -> str:
        """
        Return ``key ID:hex``, 128 bits of the keyed HMAC-SHA256 of an ID.
        """
        from hmac import digest

        key_id, key = self.keys[0]
        return f"{key_id}:{digest(key, f'{name}:{value}'.encode(), 'sha256').hex()[:32]}"

    def mint(self, name: str) -> str:
        """
        Return a fresh ID; the default mint's where the generator fails.
        """
        spec = self.specs.get(name)
        if spec is None or spec.mint is None:
            return ids.token()
        try:
            return spec.check.require(name, spec.mint())
        except Exception as error:
            _failures.failed(f"mint of {name}", error)
            return ids.token()


def policy_of(policy: Policy | None) -> Policy:
    """
    Return *policy*, or that of the environment if it is ``None``.

    Raises:
        PolicyError: the environment describes no policy.
        TypeError: *policy* is something else.
    """
    return Policy.from_env() if policy is None else require_policy(policy)


def require_policy(given: object) -> Policy:
    """
    Return *given* if it is a ``Policy``.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(given, Policy):
        raise TypeError(f"policy is a Policy, not {type(given).__name__}: write Policy(...)")
    return given


P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: Final = tuple(field.name for field in fields(Policy) if field.init)
_SECRET: Final = ("shared_secret", "hash_keys")


def refusing_options(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Let what takes a policy refuse the policy's own options, saying what to write.

    The signature stays, so that a type checker refuses them as well.

    Args:
        call: how it is called, ``{}`` for the policy, as in
            ``"install(app, {})"``.
    """

    def around(fn: Callable[P, R]) -> Callable[P, R]:
        taken = frozenset(signature(fn).parameters)

        @wraps(fn)
        def refusing(*args: P.args, **options: P.kwargs) -> R:
            if not taken.issuperset(options):
                raise TypeError(_said(call, {n: v for n, v in options.items() if n not in taken}))
            return fn(*args, **options)

        return refusing

    return around


def _said(call: str, options: Mapping[str, object]) -> str:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        return _unknown(call, unknown[0], options[unknown[0]])
    names = ", ".join(options)
    written = ", ".join(f"{name}={_shown(name, value)}" for name, value in options.items())
    verb = "is an option" if len(options) == 1 else "are options"
    return f"{names} {verb} of Policy: write {call.format(f'Policy({written})')}"


def _unknown(call: str, name: str, value: object) -> str:
    # Imported here, since it is needed where something is wrong only.
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), _OPTIONS, n=1)
    if close:
        written = f"Policy({close[0]}={_shown(close[0], value)})"
        return f"{name} is no option: write {call.format(written)}"
    of_one_id = explain_unknown(name, value, [*_OPTIONS]).partition(": write ")[2]
    if of_one_id:
        return f"{name} is no option: write {call.format(f'Policy({of_one_id})')}"
    return (
        f"{name} is no option: write {call.format('Policy(...)')}, which takes "
        f"{', '.join(_OPTIONS)}"
    )


def _shown(name: str, value: object) -> str:
    """
    Return a value as it is written, dots where it is long to write or secret.
    """
    if name in _SECRET:
        return "..."
    return repr(value) if _is_plain(value) else "..."


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(one) for one in cast("list[Any]", value))
    return value is None or value is EVERYONE or isinstance(value, str | bool)
