"""
IDs that leave this process with a job or a message, and IDs that arrive with one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from typing import Final, TypeAlias, cast

from idlanyard import _failures
from idlanyard._binding.blocks import Block
from idlanyard._binding.carrier_proofs import (
    PROOF,
    PROOF_LENGTH,
    believe_claims,
    is_known_carrier,
    seal_carrier,
)
from idlanyard._binding.reading import (
    find_id,
    get_session_context,
    iterate_current,
)
from idlanyard._binding.snapshot import (
    SessionContext,
    lower_for_others,
    make_snapshot,
    parts_of,
)
from idlanyard._binding.state import (
    Binding,
    Delta,
    RequestIDs,
    attach_to_error,
    get_binding,
    make_request_ids,
    reset_binding,
)
from idlanyard._policy.spec import check_of
from idlanyard.ids import Provenance

Claim: TypeAlias = tuple[str | None, Provenance | None]

MOST_BYTES: Final = 2048
"""
The greatest length of a carrier as JSON.
"""

UNPROVEN: Final = (
    "idlanyard: a carrier has a key that is no declared ID, so nothing in it is proven: keep "
    "what dump() returned apart from other entries, and give the consumer the sender's rules "
    "with use_policy(policy)"
)
"""
The warning about a provenance in what counts as headers.
"""

LIKE_A_HEADER: Final = (
    "idlanyard: the %s of a job or message counts as a client's word, as its header has the same "
    "name, and only a signature tells the two apart: give senders and receivers the same "
    "Policy(queue_keys=[...]), or the ID another header"
)
"""
The warning about a provenance beside a key that is an ID's name and a header's.
"""

EVERYBODYS: Final = (
    "idlanyard: the %s of a job or message is passed on as a client's word, as trusted_peers "
    "trusts every client: write the networks of your proxies there instead"
)
"""
The warning of a sender that would vouch for the word of any client.
"""

_PROVENANCES: Final = {provenance.value: provenance for provenance in Provenance}
_TYPES: Final = (Mapping, list, tuple, int, float, type(None), SessionContext)
_CLIENT: Final = Provenance.CLIENT
_OTHER_TENANT: Final = "customer_id"


def check_carrier(carrier: object, verb: str) -> None:
    """
    Check that a carrier has a type that JSON knows, or is a context; any other is a mistake.

    Args:
        carrier: the value that a caller has passed.
        verb: the function that was called, for the message.

    Raises:
        TypeError: *carrier* is JSON text, or of a type that JSON cannot produce.
    """
    if isinstance(carrier, str | bytes | bytearray):
        brace = "{" if isinstance(carrier, str) else b"{"
        if carrier.lstrip()[:1] == brace:
            raise TypeError(
                f"{verb} takes a mapping, and this is its JSON text: write {verb}(json.loads(...))"
            )
    elif not isinstance(carrier, _TYPES):
        raise TypeError(
            f"{verb} takes what dump() returned or a mapping of headers, not "
            f"{type(carrier).__name__}: write {verb}(dict(...))"
        )


def read_carrier(carrier: object, *, as_headers: bool = True) -> Delta:
    """
    Return the IDs of a carrier, without those that are not valid.

    A provenance is accepted in a mapping that is known to be from ``dump``,
    and in one whose keys are all declared names, beside a key that is no
    header's name; one that counts as proven, only if the carrier is believed.
    Headers may be in any case, in a mapping or in pairs, with text, bytes or
    a list of lines as values. If an ID has several values, all are dropped.

    Args:
        carrier: the value that arrived.
        as_headers: whether it may be headers, which may be longer than a
            mapping from ``dump``.
    """
    policy = get_binding().policy
    if as_headers and isinstance(carrier, SessionContext):
        return _accept_claims(_read_context(carrier))
    known = is_known_carrier(carrier, policy)
    dumped = known or _is_dump(carrier)
    if (dumped or not as_headers) and _is_too_long(carrier):
        _warn_of_refusal("whole carrier", f"longer than {MOST_BYTES} bytes")
        return {}
    if known:
        return _accept_claims(_read_claims(carrier, {}, is_dump=True))
    headers = {spec.header.lower(): name for name, spec in policy.specs.items()}
    if not dumped:
        return _accept_claims(_read_claims(carrier, headers, is_dump=False))
    mapping = cast("Mapping[str, object]", carrier)
    # A header may be called as the proof is; the proof of a carrier is never alone in it.
    if len(mapping) > 1:
        headers.pop(PROOF, None)
    claims = _accept_claims(_read_claims(carrier, headers, is_dump=True))
    return believe_claims(claims, mapping, policy)


def _read_claims(
    carrier: object, headers: Mapping[str, str], *, is_dump: bool
) -> dict[str, list[Claim]]:
    """
    Return everything that a carrier says of each declared ID.

    Args:
        carrier: the value that arrived.
        headers: the names of the IDs whose headers may be among its keys, by
            header in lower case.
        is_dump: whether it has the form of what ``dump`` returns.
    """
    specs = get_binding().policy.specs
    names = {name: name for name in specs}
    if "tenant_id" in specs:
        names[_OTHER_TENANT] = "tenant_id"
    claims: dict[str, list[Claim]] = {}
    for key, entry in _iterate_entries(carrier):
        name = names.get(key) or headers.get(key)
        if name is None:
            continue
        proves = is_dump and key not in headers
        value, how = _read_claim(entry, named=key in names, proves=proves)
        if how is None:
            how = _CLIENT
            _warn_of_unproven(name if is_dump else None)
        claims.setdefault(name, []).append((value, how))
    return claims


def _read_context(context: SessionContext) -> dict[str, list[Claim]]:
    """
    Return the IDs of a snapshot or request of this process that the current policy declares.
    """
    policy, (own, names, values) = get_binding().policy, parts_of(context)
    hows = dict(zip(names, values[len(names) :], strict=True))
    if not policy.peers.anybody:
        hows = {name: lower_for_others(how, own) for name, how in hows.items()}
    ids = context.as_dict().items()
    return {name: [(value, hows[name])] for name, value in ids if name in policy.specs}


def _accept_claims(claims: Mapping[str, list[Claim]]) -> Delta:
    """
    Return the claims that have one value, and a valid one.
    """
    specs = get_binding().policy.specs
    delta: dict[str, Claim] = {}
    for name, ((value, how), *more) in claims.items():
        reason: str | None = "given more than once" if more else "not one text"
        if value is not None and not more:
            reason = check_of(specs[name]).reason(value)
        if reason is None:
            delta[name] = value, how
        else:
            _warn_of_refusal(name, reason)
    return delta


def _is_dump(carrier: object) -> bool:
    """
    Return whether all keys are names that this policy declares, as ``dump`` writes them.
    """
    if not isinstance(carrier, Mapping):
        return False
    index = get_binding().policy.index
    keys = cast("Iterable[object]", carrier)
    return all(key in index or key in (_OTHER_TENANT, PROOF) for key in keys)


def _is_too_long(carrier: object) -> bool:
    import json

    is_mapping = isinstance(carrier, Mapping)
    plain = dict(cast("Mapping[object, object]", carrier)) if is_mapping else carrier
    try:
        # An object that JSON cannot express is no ID: count it as null.
        return len(json.dumps(plain, skipkeys=True, default=_replace_by_null)) > MOST_BYTES
    except (ValueError, RecursionError):
        return True


def _replace_by_null(_: object) -> None:
    return None


def _iterate_entries(carrier: object) -> Iterator[tuple[str, object]]:
    """
    Yield each key in lower case with its entry; a mapping may have a key twice.
    """
    if isinstance(carrier, Mapping):
        pairs: Iterable[object] = cast("Mapping[object, object]", carrier).items()
    elif isinstance(carrier, list | tuple):
        pairs = cast("Sequence[object]", carrier)
    else:
        _warn_of_refusal("whole carrier", "not a mapping")
        return
    for pair in pairs:
        if isinstance(pair, list | tuple) and len(cast("Sequence[object]", pair)) == 2:
            key, entry = cast("Sequence[object]", pair)
            key = key.decode("latin-1") if isinstance(key, bytes) else key
            # Lower case can turn a character beyond ASCII, as the Kelvin sign, into a letter.
            if isinstance(key, str) and key.isascii() and entry is not None:
                yield key.lower(), entry


def _read_claim(entry: object, *, named: bool, proves: bool) -> Claim:
    """
    Read one entry: a value, or a value and its provenance, or the lines of a header.

    Args:
        entry: the value of the key.
        named: whether the key is an ID's name.
        proves: whether a provenance is accepted.

    Returns:
        The value, ``None`` if there is not exactly one, and its provenance,
        ``None`` if there is one that is not accepted.
    """
    if isinstance(entry, list | tuple):
        parts = cast("Sequence[object]", entry)
        if named and len(parts) == 2 and isinstance(parts[0], str):
            how = _PROVENANCES.get(parts[1]) if isinstance(parts[1], str) else None
            if proves:
                return parts[0], how or _CLIENT
            if how is not None:
                return parts[0], None
        if proves or len(parts) != 1:
            return None, _CLIENT
        entry = parts[0]
    if isinstance(entry, bytes):
        entry = entry.decode("latin-1")
    return (entry if isinstance(entry, str) else None), _CLIENT


def _warn_of_refusal(what: str, reason: str) -> None:
    about = f"carrier {what} {reason}"
    _failures.warn_once(about, "idlanyard: the %s of a message is refused: %s", what, reason)


def _warn_of_unproven(name: str | None) -> None:
    """
    Log, once, that a provenance is not accepted.

    Args:
        name: the ID whose header has the same name, ``None`` in headers.
    """
    if name is None:
        _failures.warn_once("carrier unproven", UNPROVEN)
    else:
        _failures.warn_once(f"carrier header {name}", LIKE_A_HEADER, name)


def dump() -> dict[str, list[str]]:
    """
    Return the current IDs as a small JSON mapping for a job or a message.

    The mapping has the value and the provenance of each declared ID with
    ``job=True``, by name; an ID that would make it longer than 2 KiB is left
    out. If the current policy has ``queue_keys``, the entry ``"proof"`` signs
    all others. What a peer has set is the word of a client if the policy
    trusts every peer. The receiver calls ``restore``.
    """
    policy = get_binding().policy
    most = MOST_BYTES - (0 if policy.queue_proofs is None else PROOF_LENGTH)
    carrier: dict[str, list[str]] = {}
    for spec, value, how in iterate_current("job"):
        told = lower_for_others(how, policy)
        if told is not how:
            _failures.warn_once(f"carrier everybody {spec.name}", EVERYBODYS, spec.name)
        carrier[spec.name] = [value, told.value]
    return seal_carrier(_leave_out_longest(carrier, most), policy)


def _leave_out_longest(carrier: dict[str, list[str]], most: int) -> dict[str, list[str]]:
    """
    Return a carrier without the IDs that would make it longer than *most* as JSON.
    """
    kept: dict[str, list[str]] = {}
    length = 0
    for name, entry in carrier.items():
        # JSON escapes no character that an ID may have: it adds 14, as in '"n": ["v", "h"], '.
        longer = length + len(name) + len(entry[0]) + len(entry[1]) + 14
        if longer <= most:
            kept[name] = entry
            length = longer
    return kept


def extract(carrier: object) -> SessionContext:
    """
    Return the IDs of a carrier without binding them.

    A carrier is a mapping from ``dump``, or headers in any case, as a mapping
    or in pairs. If one of the current policy's ``queue_keys`` has signed it,
    a value has the provenance that ``dump`` wrote beside it. Without a
    signature this needs a mapping whose keys are all names of declared IDs;
    under a header's name a value has ``CLIENT``. A provenance that counts as
    proven is then believed with ``trusted_queue`` and, without keys, in a
    carrier that this process has written itself; else it is ``CLIENT``, and a
    warning is logged. Dropped are values that do not pass the check of their
    ID, several values for one ID, unknown keys, and a mapping that is longer
    than ``dump`` makes it.

    The IDs of a ``SessionContext`` of this process keep their provenances.

    Args:
        carrier: hostile input.

    Raises:
        TypeError: *carrier* is JSON text, or of a type that JSON does not
            know: a mistake of the code, which no sender can make.
    """
    check_carrier(carrier, "extract")
    policy = get_binding().policy
    request_ids = make_request_ids(policy, read_carrier(carrier))
    return make_snapshot(request_ids.values, policy)


class restore(Block):  # noqa: N801 - it reads as a verb where it is used
    """
    Bind the IDs of a carrier, and no others, for a block.

    For consumers of jobs and messages: ``with``, ``async with``. An ID that
    the carrier lacks is absent in the block, also if it was bound outside;
    without a carrier (``None`` or empty) nothing changes.

    Args:
        carrier: a mapping from ``dump``, headers or a ``SessionContext``;
            checked as in ``extract``.

    Raises:
        TypeError: *carrier* is JSON text, or of a type that JSON does not know.
        RuntimeError: this instance is entered while it is open.
    """

    __slots__ = ("_carrier", "_request_ids")

    _if_open = "this restore is open already: write restore(carrier) anew"
    _request_ids: RequestIDs

    def __init__(self, carrier: object) -> None:
        super().__init__()
        check_carrier(carrier, "restore")
        self._carrier = carrier

    def __enter__(self) -> SessionContext:
        self._enter()
        return get_session_context()

    async def __aenter__(self) -> SessionContext:
        return self.__enter__()

    def _make_binding(self) -> RequestIDs | None:
        if not self._carrier:
            return None
        self._request_ids = make_request_ids(get_binding().policy, read_carrier(self._carrier))
        return self._request_ids

    def _leave(self, token: Token[Binding]) -> None:
        self._request_ids.open = False
        reset_binding(token)


def make_job_block(carrier: object, *, inherit: bool) -> AbstractContextManager[None]:
    """
    Return the block that a job runs in, with IDs of its own.

    Args:
        carrier: the value that arrived with the job, of any type; checked as
            in ``extract``.
        inherit: use the current IDs if there is no carrier, for a job that
            runs in the process that sent it.
    """
    policy = get_binding().policy
    if carrier:
        ids = read_carrier(carrier, as_headers=False)
    else:
        ids = {name: find_id(name) for name in policy.names} if inherit else {}
    return _JobBlock(ids)


class _JobBlock(Block):
    """
    The block of one job, whose beginning is an event.
    """

    __slots__ = ("_request_ids",)

    _if_open = "this job's block is open already: write bind_job(carrier) anew per job"

    def __init__(self, ids: Delta) -> None:
        super().__init__()
        self._request_ids = make_request_ids(get_binding().policy, ids)

    def __enter__(self) -> None:
        self._enter(begins="job")

    def __exit__(self, *raised: object) -> None:
        super().__exit__()
        error = raised[1] if raised else None
        if isinstance(error, BaseException):
            # A worker logs it when the IDs of the job are no longer bound.
            attach_to_error(error, self._request_ids)

    def _make_binding(self) -> RequestIDs:
        return self._request_ids

    def _leave(self, token: Token[Binding]) -> None:
        self._request_ids.open = False
        reset_binding(token)
