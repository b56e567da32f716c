"""
``CheckedPolicy``: a policy as the rest of the package reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal
from weakref import ref

from idlanyard import _failures, ids
from idlanyard._policy.admission import Admission
from idlanyard._policy.checks import explain_undeclared
from idlanyard._policy.id_check import IDCheck
from idlanyard._policy.keys import QueueProofs, remove_signature
from idlanyard._policy.paths import Paths
from idlanyard._policy.peers import TrustedPeers
from idlanyard._policy.spec import STANDARD, IDSpec, check_of, signatures_of

_store: Final = object.__setattr__
_DEFAULT_CHECK: Final = IDCheck()


class CheckedPolicy:
    """
    The checked options of a ``Policy``, and the tables made from them.

    Attributes:
        specs: the rules of each ID that is not left out, by name.
        peers: the trusted peers.
        secret_header: the header of the shared secret, if there is one.
        secrets: the shared secrets, the new one first.
        keys: pairs of key ID and key for the ``"hash"`` sinks; the first pair
            is the one in use.
        queue_proofs: the proofs of carriers, if there are ``queue_keys``.
        exclude: the paths for which nothing is read, minted or echoed.
        expose: as in ``Policy``, like the other options below.
        mark_private: as in ``Policy``.
        assume_unix: as in ``Policy``.
        unsafe_server_ok: as in ``Policy``.
        enabled: as in ``Policy``.
        trusted_queue: as in ``Policy``.
        admission: as in ``Policy``.
        names: the three standard IDs, left out or not, and the further ones.
        further: the names of the further ones.
        index: the position of each name in *names*, and of its value in a
            scope's values.
        environ_keys: the key in a WSGI ``environ`` of each of *names*.
    """

    __slots__ = (
        "__weakref__",
        "admission",
        "assume_unix",
        "enabled",
        "environ_keys",
        "exclude",
        "expose",
        "further",
        "index",
        "keys",
        "mark_private",
        "names",
        "peers",
        "queue_proofs",
        "secret_header",
        "secrets",
        "specs",
        "trusted_queue",
        "unsafe_server_ok",
    )

    specs: Mapping[str, IDSpec]
    peers: TrustedPeers
    secret_header: str | None
    secrets: tuple[bytes, ...]
    keys: tuple[tuple[str, bytes], ...]
    queue_proofs: QueueProofs | None
    exclude: Paths
    expose: bool
    mark_private: bool
    assume_unix: bool
    unsafe_server_ok: bool
    enabled: bool
    trusted_queue: bool
    admission: Admission | None
    names: tuple[str, ...]
    further: tuple[str, ...]
    index: Mapping[str, int]
    environ_keys: tuple[str, ...]

    # Written out, since making a frozen dataclass takes as long as importing three files.
    def __init__(
        self,
        *,
        specs: Mapping[str, IDSpec],
        peers: TrustedPeers,
        secret_header: str | None,
        secrets: tuple[bytes, ...],
        keys: tuple[tuple[str, bytes], ...],
        queue_proofs: QueueProofs | None,
        exclude: Paths,
        expose: bool,
        mark_private: bool,
        assume_unix: bool,
        unsafe_server_ok: bool,
        enabled: bool,
        trusted_queue: bool,
        admission: Admission | None,
    ) -> None:
        _store(self, "specs", specs)
        _store(self, "peers", peers)
        _store(self, "secret_header", secret_header)
        _store(self, "secrets", secrets)
        _store(self, "keys", keys)
        _store(self, "queue_proofs", queue_proofs)
        _store(self, "exclude", exclude)
        _store(self, "expose", expose)
        _store(self, "mark_private", mark_private)
        _store(self, "assume_unix", assume_unix)
        _store(self, "unsafe_server_ok", unsafe_server_ok)
        _store(self, "enabled", enabled)
        _store(self, "trusted_queue", trusted_queue)
        _store(self, "admission", admission)
        names = tuple(dict.fromkeys((*STANDARD, *specs)))
        _store(self, "names", names)
        _store(self, "further", names[len(STANDARD) :])
        _store(self, "index", {name: position for position, name in enumerate(names)})
        _store(self, "environ_keys", tuple(f"idlanyard.{name}" for name in names))
        if self.further:
            Declared.add(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to {name!r}: a policy is built once")

    def check(self, name: str) -> IDCheck:
        """
        Return the check that a value of the ID *name* has to pass.

        Raises:
            TypeError: no such ID is declared.
        """
        spec = self.specs.get(name)
        if spec is not None:
            return check_of(spec)
        if name in STANDARD:
            return _DEFAULT_CHECK
        raise TypeError(explain_undeclared(name, self.names))

    def signs(self, name: str) -> bool:
        """
        Return whether the ID *name* is minted with a signature.
        """
        spec = self.specs.get(name)
        return spec is not None and signatures_of(spec) is not None

    def show(self, sink: Literal["log", "span"], name: str, value: str) -> str | None:
        """
        Return the text that *sink* shows of an ID: the ID, its pseudonym, or ``None``.

        A signed ID is shown without its signature, so that nobody can send it again who reads
        the log.
        """
        spec = self.specs.get(name)
        how = "clear" if spec is None else getattr(spec, sink)
        if how == "clear":
            return value if spec is None or spec.signed is None else remove_signature(value)
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
        Return a fresh ID, or one of ``ids.token`` if the generator of the ID fails.
        """
        spec = self.specs.get(name)
        if spec is None or spec.mint is None:
            return ids.token()
        signatures = signatures_of(spec)
        sign = str if signatures is None else signatures.sign
        try:
            made = check_of(spec).require(name, spec.mint())
            return check_of(spec).require(name, sign(made))
        except Exception as error:
            _failures.report_failure(f"mint of {name}", error)
            return sign(ids.token())


class Declared:
    """
    The IDs that any policy of this process declares, for log lines outside its requests.

    Attributes:
        names: of every ID, the standard ones first; another tuple whenever
            they change.
    """

    names: tuple[str, ...] = STANDARD
    _policies: ClassVar[list[ref[CheckedPolicy]]] = []

    @classmethod
    def add(cls, policy: CheckedPolicy) -> None:
        """
        Add the IDs of *policy* for as long as it is used.
        """
        cls._renew([*cls._policies, ref(policy, cls._forget)])

    @classmethod
    def _forget(cls, gone: ref[CheckedPolicy]) -> None:
        cls._renew([one for one in cls._policies if one is not gone])

    @classmethod
    def _renew(cls, policies: list[ref[CheckedPolicy]]) -> None:
        cls._policies = policies
        alive = [policy for one in policies if (policy := one()) is not None]
        names = tuple(dict.fromkeys((*STANDARD, *(name for one in alive for name in one.names))))
        if names != cls.names:
            cls.names = names
