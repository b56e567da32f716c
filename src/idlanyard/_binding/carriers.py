"""
IDs that leave this process with a request or a job, and IDs that arrive with one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from contextvars import Token
from typing import Any, Final, TypeAlias, cast

from idlanyard import _failures
from idlanyard._binding.blocks import Block
from idlanyard._binding.reading import find_id, get_session_context, process_session_id
from idlanyard._binding.snapshot import SessionContext, make_snapshot
from idlanyard._binding.state import (
    Binding,
    Delta,
    RequestIDs,
    attach_to_error,
    find_request_ids,
    get_binding,
    make_request_ids,
    reset_binding,
)
from idlanyard._policy.origins import Origins
from idlanyard._policy.spec import IDSpec, check_of
from idlanyard.ids import Provenance

Claim: TypeAlias = tuple[str | None, Provenance | None]

MOST_BYTES: Final = 2048
"""
How long a carrier may be, as JSON.
"""

_PROVENANCES: Final = {provenance.value: provenance for provenance in Provenance}
_FROM_JSON: Final = (Mapping, list, tuple, int, float, type(None))
_CLIENT: Final = Provenance.CLIENT
_OTHER_TENANT: Final = "customer_id"


def check_carrier(carrier: object, verb: str) -> None:
    """
    Refuse what no sender can have sent, since only the code can have put it there.

    Args:
        carrier: what a caller has handed over.
        verb: the function that was called, for the message.

    Raises:
        TypeError: it is JSON text, or of a type that no JSON text becomes.
    """
    if isinstance(carrier, str | bytes | bytearray):
        brace = "{" if isinstance(carrier, str) else b"{"
        if carrier.lstrip()[:1] == brace:
            raise TypeError(
                f"{verb} takes a mapping, and this is its JSON text: write {verb}(json.loads(...))"
            )
    elif not isinstance(carrier, _FROM_JSON):
        raise TypeError(
            f"{verb} takes what dump() returned or a mapping of headers, not "
            f"{type(carrier).__name__}: write {verb}(dict(...))"
        )


def read_carrier(carrier: object, *, as_headers: bool = True) -> Delta:
    """
    Return the IDs that a carrier has; what does not pass is left out.

    A provenance counts where every key is a declared name, as in what
    ``dump`` returns, and the key is no header's name. Headers may have any
    case, stand in a mapping or in pairs, and have text, bytes or a list of
    lines as values. More than one value for an ID is none.

    Args:
        carrier: what came.
        as_headers: whether it may be headers, which may be longer than what
            ``dump`` returns.
    """
    policy = get_binding().policy
    dumped = _is_dump(carrier)
    if (dumped or not as_headers) and _is_too_long(carrier):
        _refuse("whole carrier", f"longer than {MOST_BYTES} bytes")
        return {}
    headers = {spec.header.lower(): name for name, spec in policy.specs.items()}
    names = {name: name for name in policy.specs}
    if "tenant_id" in policy.specs:
        names[_OTHER_TENANT] = "tenant_id"
    claims: dict[str, list[Claim]] = {}
    for key, entry in _lines(carrier):
        name = names.get(key) or headers.get(key)
        if name is not None:
            proves = dumped and key not in headers
            claims.setdefault(name, []).append(_claim(entry, named=key in names, proves=proves))
    return _accept(claims)


def _accept(claims: Mapping[str, list[Claim]]) -> Delta:
    """
    Return the claims that are one value that may be an ID.
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
            _refuse(name, reason)
    return delta


def _is_dump(carrier: object) -> bool:
    """
    Return whether all keys are names that this policy knows, as ``dump`` writes them.
    """
    if not isinstance(carrier, Mapping):
        return False
    index = get_binding().policy.index
    keys = cast("Iterable[object]", carrier)
    return all(key in index or key == _OTHER_TENANT for key in keys)


def _is_too_long(carrier: object) -> bool:
    is_mapping = isinstance(carrier, Mapping)
    plain = dict(cast("Mapping[object, object]", carrier)) if is_mapping else carrier
    try:
        # What JSON cannot say counts as nothing, since it is no ID either.
        return len(json.dumps(plain, skipkeys=True, default=_nothing)) > MOST_BYTES
    except (ValueError, RecursionError):
        return True


def _nothing(_: object) -> None:
    return None


def _lines(carrier: object) -> Iterator[tuple[str, object]]:
    """
    Yield each key in lower case with its entry; a mapping may have a key twice.
    """
    if isinstance(carrier, Mapping):
        pairs: Iterable[object] = cast("Mapping[object, object]", carrier).items()
    elif isinstance(carrier, list | tuple):
        pairs = cast("Sequence[object]", carrier)
    else:
        _refuse("whole carrier", "not a mapping")
        return
    for pair in pairs:
        if isinstance(pair, list | tuple) and len(cast("Sequence[object]", pair)) == 2:
            key, entry = cast("Sequence[object]", pair)
            key = key.decode("latin-1") if isinstance(key, bytes) else key
            # Outside ASCII, lower case can make a header's name of what is none.
            if isinstance(key, str) and key.isascii() and entry is not None:
                yield key.lower(), entry


def _claim(entry: object, *, named: bool, proves: bool) -> Claim:
    """
    Read one entry: a value, or a value and its provenance, or the lines of a header.

    Args:
        entry: what stands under the key.
        named: whether the key is an ID's name.
        proves: whether a provenance counts.
    """
    if isinstance(entry, list | tuple):
        parts = cast("Sequence[object]", entry)
        if named and len(parts) == 2 and isinstance(parts[0], str):
            how = _PROVENANCES.get(parts[1]) if isinstance(parts[1], str) else None
            if proves:
                return parts[0], how or _CLIENT
            if how is not None:
                _note_unproven()
                return parts[0], _CLIENT
        if proves or len(parts) != 1:
            return None, _CLIENT
        entry = parts[0]
    if isinstance(entry, bytes):
        entry = entry.decode("latin-1")
    return (entry if isinstance(entry, str) else None), _CLIENT


def _refuse(what: str, reason: str) -> None:
    about = f"carrier {what} {reason}"
    _failures.warn_once(about, "idlanyard: the %s of a message is refused: %s", what, reason)


def _note_unproven() -> None:
    _failures.warn_once(
        "carrier unproven",
        "idlanyard: a carrier has a key that is no declared ID, so nothing in it is proven: keep "
        "what dump() returned apart from other entries, and give the consumer the sender's rules "
        "with use_policy(policy)",
    )


_LINE_BREAK: Final = re.compile(r"[\x00-\x1f\x7f]")


def inject(
    headers: MutableMapping[str, Any],
    *,
    to: Iterable[str] | None = None,
    url: str | None = None,
    lower: bool = False,
) -> None:
    """
    Add the IDs in force to outgoing headers, in place.

    A header that is there already, in any case, wins. Where the request goes
    is looked at once, here: a client that follows a redirect by itself takes
    the headers along, also to an origin that is not in *to*.
    Switch redirects off (``redirect=False``, ``follow_redirects=False``) and
    inject anew for each hop, or use the ``install`` of an integration.

    Args:
        headers: any mutable mapping of header names.
        to: the origins that may have them, such as ``"https://api.example"``
            or ``"https://*.internal.example"``; left out, the call itself is
            the permission.
        url: where the request goes; needed with *to*.
        lower: whether names are written in lower case, as gRPC metadata and
            HTTP/2 ask for.

    Raises:
        PolicyError: an entry of *to* is no origin.
        TypeError: *to* is given without *url*, or *headers* is no mapping.
    """
    if not isinstance(headers, MutableMapping):
        raise TypeError(
            f"inject changes a mapping in place, not {type(headers).__name__}: write ids = {{}}; "
            f"inject(ids), and add ids.items()"
        )
    if to is not None:
        origins = Origins(to)
        if url is None:
            raise TypeError("inject(to=...) decides by the URL: give url=... as well")
        if not origins.allow(url):
            return
    for spec, value, _ in _in_force("propagate"):
        _set_absent(headers, spec.header.lower() if lower else spec.header, value)


def ids_to_send() -> dict[str, str]:
    """
    Return the headers of the current IDs, for a client that sends a request now.

    A client whose sending runs in a task or a thread that a request has
    opened sends the IDs of that request for ever, also for other requests: a
    warning is logged once. Work that a request leaves behind is right to send
    them.
    """
    headers: dict[str, str] = {}
    inject(headers)
    request_ids = find_request_ids()
    if headers and request_ids is not None and not request_ids.open:
        _failures.warn_once(
            "outgoing after the request",
            "idlanyard: an outgoing request carries the IDs of a request that is over: that is "
            "right for work which this request has left behind; if it was sent for somebody else, "
            "open the client, its connection or its task in 'with without():'",
        )
    return headers


def add_ids_for_hop(
    headers: MutableMapping[str, Any],
    url: str,
    origins: Origins,
    *,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """
    Add the current IDs to the headers of a request that is about to be sent, in place.

    A header that the caller wrote wins. The headers that an earlier sending
    of the same request has added are removed first, so that a redirect or a
    second attempt decides anew.

    Args:
        headers: the client's own mapping, in which case makes no difference.
        url: where this sending goes.
        origins: the origins that may be sent IDs.
        earlier: what this function returned for the sending before.

    Returns:
        The headers that were added: remember them beside the request.
    """
    for name, value in (earlier or {}).items():
        # A value that the caller has put in its place since then is the caller's.
        if headers.get(name) == value:
            del headers[name]
    if not origins.allow(url):
        return {}
    added = {name: value for name, value in ids_to_send().items() if name not in headers}
    for name, value in added.items():
        headers[name] = value
    return added


def managed_headers() -> frozenset[str]:
    """
    Return the names of the headers that the current policy declares, in lower case.
    """
    return frozenset(spec.header.lower() for spec in get_binding().policy.specs.values())


def prepare_request_headers(
    headers: MutableMapping[str, Any], *, env_headers: Mapping[str, str] | None = None
) -> None:
    """
    Add the IDs to a script's outgoing headers, in place.

    Like ``inject``; where no session is in force, ``process_session_id()``
    is sent.

    Args:
        headers: any mutable mapping of header names.
        env_headers: headers whose value an environment variable holds, as in
            ``{"X-API-KEY": "MY_API_KEY"}``; added where the variable is set
            and the header is not.

    Raises:
        ValueError: a variable holds a control character.
    """
    inject(headers)
    session = get_binding().policy.specs.get("session_id")
    if session is not None:
        _set_absent(headers, session.header, process_session_id())
    for header, variable in (env_headers or {}).items():
        value = os.environ.get(variable)
        if value and _LINE_BREAK.search(value):
            raise ValueError(f"{variable} holds a control character, which no header may")
        if value:
            _set_absent(headers, header, value)


def dump() -> dict[str, list[str]]:
    """
    Return the IDs in force as a small JSON mapping for a job or a message.

    Each declared ID with ``job=True`` is a name with its value and its
    provenance; one that would make the mapping longer than 2 KiB is left
    out. ``restore`` is the way back.
    """
    import json

    carrier: dict[str, list[str]] = {}
    for spec, value, how in _in_force("job"):
        longer = carrier | {spec.name: [value, how.value]}
        if len(json.dumps(longer)) <= MOST_BYTES:
            carrier = longer
    return carrier


def extract(carrier: object) -> SessionContext:
    """
    Return the IDs that a carrier has; nothing is bound.

    A carrier is what ``dump`` returns, or headers in any case, as a mapping
    or in pairs. A value has the provenance that ``dump`` wrote beside it
    where every key is the name of a declared ID; anywhere else, under a
    header's name above all, it has ``CLIENT``. What does not pass the ID's
    check is dropped, as are two values for one ID, anything unknown, and
    whatever ``dump`` would not have made so long.

    Args:
        carrier: hostile input.

    Raises:
        TypeError: it is JSON text, or a type that JSON does not know: a
            mistake of the code that no sender can make.
    """
    check_carrier(carrier, "extract")
    policy = get_binding().policy
    request_ids = make_request_ids(policy, read_carrier(carrier))
    return make_snapshot(request_ids.values, policy)


class restore(Block):  # noqa: N801 - it reads as a verb where it is used
    """
    Bind what a carrier has for a block, in a scope of its own.

    For consumers of jobs and messages: ``with``, ``async with``. An ID that
    the carrier lacks is absent in the block, whatever was bound around it;
    no carrier at all (``None`` or empty) changes nothing.

    Args:
        carrier: what ``dump`` returned, or headers; checked as in
            ``extract``.

    Raises:
        TypeError: *carrier* is JSON text, or a type that JSON does not know.
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
    Return the block that a job runs in: always in a scope of its own.

    Args:
        carrier: what came with the job, of any type; checked as in
            ``extract``.
        inherit: whether a job without a carrier has what is in force here,
            because it runs in the process of who sent it.
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


def _in_force(sink: str) -> Iterator[tuple[IDSpec, str, Provenance]]:
    """
    Yield each ID in force that the sink is declared for.
    """
    for spec in get_binding().policy.specs.values():
        value, how = find_id(spec.name)
        if getattr(spec, sink) and value is not None and how is not None:
            yield spec, value, how


def _set_absent(headers: MutableMapping[str, Any], name: str, value: str) -> None:
    if name.lower() not in {str(key).lower() for key in headers}:
        headers[name] = value
