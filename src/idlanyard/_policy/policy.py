"""
``Policy``: the rules for all IDs of a service, checked when it is built.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import wraps
from inspect import signature
from operator import attrgetter
from typing import Any, Final, ParamSpec, TypeVar, cast

from idlanyard import _failures
from idlanyard._policy import checks
from idlanyard._policy.admission import Admission
from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.default_specs import session_spec, tenant_spec, user_spec
from idlanyard._policy.environment import find_misspelt_variables, read_options, translate_error
from idlanyard._policy.keys import LEAST_SECRET, QueueProofs, parse_queue_keys
from idlanyard._policy.options import Options
from idlanyard._policy.paths import Paths
from idlanyard._policy.peers import EVERYONE, Everyone, TrustedPeers
from idlanyard._policy.spec import IDSpec
from idlanyard.exceptions import PolicyError

_store: Final = object.__setattr__
_SWITCHES: Final = (
    "expose",
    "mark_private",
    "assume_unix",
    "unsafe_server_ok",
    "enabled",
    "trusted_queue",
)


@dataclass(frozen=True, kw_only=True)
class Policy(Options):
    """
    The rules for all IDs of a service. Immutable.

    Args:
        session: the rules of the session ID, or ``None`` to leave it out.
        user: the rules of the user ID, or ``None``.
        tenant: the rules of the tenant ID, or ``None``.
        extra: the rules of further IDs, such as ``request_spec()``.
        trusted_peers: the peers that may set user and tenant: addresses,
            networks, ``"unix"``, or ``EVERYONE``. An empty list trusts
            nobody. ``EVERYONE``, and networks that hold every public
            address, log a warning.
        shared_secret: ``(header, secret)`` or ``(header, [new, old])``, each
            secret at least 32 bytes: a sender who knows one is trusted too.
        exclude: paths for which nothing is read, minted or echoed: exact
            ones, such as ``"/health"``, or prefixes, such as ``"/static/*"``,
            which is ``/static/`` and all below, but neither ``/static`` nor
            ``/staticx``.
        expose: name the echoed headers to browsers (CORS) in responses that
            allow an origin.
        mark_private: make a response with IDs ``Cache-Control: private`` if it
            says nothing about caches and they would keep it; ``False`` leaves
            it alone and echoes nothing in it.
        assume_unix: treat a peer without an address as a unix socket, for
            servers that give no better sign of one. Any text that is no
            address counts as unix then, so never set it for a server that
            also listens on TCP, or that rewrites the peer from a forwarding
            header.
        unsafe_server_ok: trust peers even on servers that let an alias of a
            header, such as ``X_User_ID``, replace it.
        hash_keys: pairs of key ID and key for the ``"hash"`` sinks; the first
            pair is the one in use.
        enabled: ``False`` binds no ID in any request, and still removes
            unproven headers.
        admission: accept only known session IDs, as in
            ``Admission(registry.exists)``.
        queue_keys: keys of at least 32 bytes, the new one first, that sign
            the IDs of jobs and messages (``dump``). The provenance of an ID
            that arrives with a signature by any of them is believed, and an
            ID without one counts as a client's word.
        trusted_queue: believe the provenance of IDs that arrive with jobs and
            messages also without a signature: only if nobody but your own
            processes can write to the queue.

    Raises:
        PolicyError: an option is wrong; the message says what to write.
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
    queue_keys: Sequence[str | bytes] | None = field(default=None, repr=False)
    trusted_queue: bool = False
    _checked: CheckedPolicy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        extra = checks.parse_extra(self.extra)
        peers = TrustedPeers(self.trusted_peers)
        secret = checks.parse_secret(self.shared_secret)
        exclude = checks.parse_paths(self.exclude)
        keys = checks.parse_hash_keys(self.hash_keys)
        standard = {"session_id": self.session, "user_id": self.user, "tenant_id": self.tenant}
        specs = checks.collect_specs(standard, extra)
        queue_keys = parse_queue_keys(self.queue_keys)
        header, secrets = secret or (None, ())
        checks.check_headers(specs.values(), header)
        switches: dict[str, bool] = {option: getattr(self, option) for option in _SWITCHES}
        checks.check_switches(switches)
        checks.check_admission(self.admission, specs)
        checks.check_hashing(specs.values(), keys)
        _store(self, "extra", extra)
        _store(self, "trusted_peers", peers.entries)
        _store(self, "shared_secret", secret)
        _store(self, "exclude", exclude)
        _store(self, "hash_keys", keys)
        _store(self, "queue_keys", queue_keys)
        checked = CheckedPolicy(
            specs=specs,
            peers=peers,
            secret_header=header,
            secrets=secrets,
            keys=keys,
            queue_proofs=None if queue_keys is None else QueueProofs(queue_keys),
            exclude=Paths(exclude),
            admission=self.admission,
            **switches,
        )
        _store(self, "_checked", checked)
        _warn_of_anybody(peers)
        _warn_of_certificates(checked)

    @classmethod
    def _refuse_name(cls, name: str, value: object, names: list[str], /) -> str:
        return checks.explain_unknown_option(name, value, names)

    def explain(self) -> str:
        """
        Return what the policy believes and why, without any secret.

        There is a line for each ID, and one for jobs and messages. A line at
        the end names each option that weakens the rest, such as
        ``EVERYONE``.
        """
        # Few processes print it.
        from idlanyard._policy.posture import explain_policy

        return explain_policy(self._checked, self.exclude)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Policy:
        """
        Return the policy that the environment variables describe.

        - ``IDLANYARD_TRUSTED_PEERS``: ``10.0.0.5,10.1.0.0/16,unix``, or
          ``everyone``;
        - ``IDLANYARD_SHARED_SECRET``: ``X-Proxy-Secret:secret``, several
          secrets separated by commas, the new one first;
        - ``IDLANYARD_ENABLED``: ``1``, ``true``, ``yes`` or ``on``; ``0``,
          ``false``, ``no`` or ``off``;
        - ``IDLANYARD_QUEUE_KEYS``: keys separated by commas, the new one
          first;
        - ``IDLANYARD_TRUSTED_QUEUE``: as ``IDLANYARD_ENABLED``.

        A misspelt variable, of these or of the static IDs, logs a warning.

        Args:
            environ: the environment variables.

        Raises:
            PolicyError: a variable cannot be understood; the message says
                what to write.
        """
        options = read_options(environ)
        for name, meant in find_misspelt_variables(environ):
            _failures.LOGGER.warning("idlanyard: nothing reads %s: did you mean %s?", name, meant)
        try:
            return cls(**options)
        except PolicyError as error:
            raise translate_error(error) from error


checked_policy: Final[Callable[[Policy], CheckedPolicy]] = attrgetter("_checked")
"""
Returns the checked options of a policy.
"""


def _warn_of_anybody(peers: TrustedPeers) -> None:
    if peers.anybody:
        _failures.LOGGER.warning(
            "idlanyard: trusted_peers%s believes the user and tenant that any client claims: "
            "use it only where none but your proxy can connect",
            "=EVERYONE" if peers.everyone else ", which holds every public address,",
        )


def _warn_of_certificates(policy: CheckedPolicy) -> None:
    for name, header in checks.find_unproven_certificates(policy.specs.values()):
        _failures.warn_once(
            f"{name} in {header} from anyone",
            "idlanyard: %s is read out of %s and accepted from anyone, so any client may claim any "
            "certificate: write accept='proven', and trusted_peers with the address of the proxy "
            "that sets the header",
            name,
            header,
        )


def policy_of(policy: Policy | None) -> Policy:
    """
    Return *policy*, or ``Policy.from_env()`` if it is ``None``.

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
_SECRET: Final = ("shared_secret", "hash_keys", "queue_keys")


def refuse_options(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Return a decorator for a function that takes a policy: it refuses the options of ``Policy``.

    The function keeps its signature, so that type checkers refuse them as well.

    Args:
        call: a call of the function, ``{}`` in place of the policy, as in
            ``"install(app, {})"``; the message says to write it.
    """

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        taken = frozenset(signature(fn).parameters)

        @wraps(fn)
        def refusing(*args: P.args, **options: P.kwargs) -> R:
            if not taken.issuperset(options):
                raise TypeError(
                    _explain_misplaced(call, {n: v for n, v in options.items() if n not in taken})
                )
            return fn(*args, **options)

        return refusing

    return decorate


def _explain_misplaced(call: str, options: Mapping[str, object]) -> str:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        return _explain_unknown(call, unknown[0], options[unknown[0]])
    names = ", ".join(options)
    written = ", ".join(f"{name}={_write_value(name, value)}" for name, value in options.items())
    verb = "is an option" if len(options) == 1 else "are options"
    return f"{names} {verb} of Policy: write {call.format(f'Policy({written})')}"


def _explain_unknown(call: str, name: str, value: object) -> str:
    # Imported here, since only a wrong call needs it.
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), _OPTIONS, n=1)
    if close:
        written = f"Policy({close[0]}={_write_value(close[0], value)})"
        return f"{name} is no option: write {call.format(written)}"
    of_one_id = checks.explain_unknown_option(name, value, [*_OPTIONS]).partition(": write ")[2]
    if of_one_id:
        return f"{name} is no option: write {call.format(f'Policy({of_one_id})')}"
    return (
        f"{name} is no option: write {call.format('Policy(...)')}, which takes "
        f"{', '.join(_OPTIONS)}"
    )


def _write_value(name: str, value: object) -> str:
    """
    Return the code of a value, or ``...`` if it is long or secret.
    """
    if name in _SECRET:
        return "..."
    return repr(value) if _is_short(value) else "..."


def _is_short(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_short(one) for one in cast("list[Any]", value))
    if isinstance(value, str):
        # A longer text may be a secret.
        return len(value) < LEAST_SECRET
    return value is None or value is EVERYONE or isinstance(value, bool)
