"""
What a carrier brings: which IDs, and by whose word (R13, S27). Hostile input
is data here; a mistake of the code that hands it over is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias, cast

from idlanyard import _events
from idlanyard._binding import Delta, current
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


def arrived(carrier: object, *, as_headers: bool = True) -> Delta:
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
    policy = current().policy
    dumped = _is_dump(carrier)
    if (dumped or not as_headers) and _is_too_long(carrier):
        _refuse("whole carrier", f"longer than {MOST_BYTES} bytes")
        return {}
    headers = {spec.header.lower(): name for name, spec in policy.specs.items()}
    names = {name: name for name in policy.specs}
    if policy.tenant is not None:
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
    specs = current().policy.specs
    delta: dict[str, Claim] = {}
    for name, ((value, how), *more) in claims.items():
        reason: str | None = "given more than once" if more else "not one text"
        if value is not None and not more:
            reason = specs[name].check.reason(value)
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
    index = current().policy.index
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
    _events.warn_once(about, "idlanyard: the %s of a message is refused: %s", what, reason)


def _note_unproven() -> None:
    _events.warn_once(
        "carrier unproven",
        "idlanyard: a carrier has a key that is no declared ID, so nothing in it is proven: keep "
        "what dump() returned apart from other entries, and give the consumer the sender's rules "
        "with use_policy(policy)",
    )
