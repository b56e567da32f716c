"""
``SignedHeader``: a source whose values are proven by their signature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from idlanyard._policy.header_names import find_plain_header_fault
from idlanyard._policy.sources import Header
from idlanyard.exceptions import PolicyError
from idlanyard.signing._signatures import (
    FieldKeys,
    match_line,
    parse_audience,
    parse_field,
    parse_keys,
)

_store: Final = object.__setattr__
_LONGEST_AGE: Final = 300

LEEWAY: Final = 10
"""
The most seconds by which the clock of a sender may be ahead of ours.
"""


@dataclass(frozen=True, slots=True)
class _Conditions:
    """
    The conditions on which a line is believed.

    Attributes:
        keys: the keys that may have signed it.
        audiences: the names of this service.
        max_age: the most seconds since the signing.
    """

    keys: FieldKeys
    audiences: tuple[str, ...]
    max_age: int

    def verify(self, line: str) -> str | None:
        """
        Return the value that *line* vouches for, or ``None``; no text raises.
        """
        read = self.keys.read(line)
        if read is None:
            return None
        value, audience, age = read
        return value if audience in self.audiences and -LEEWAY <= age <= self.max_age else None

    def explain(self, line: str) -> str:
        """
        Return in words why ``verify`` believes *line*, or does not.
        """
        if match_line(line) is None:
            return "not a line that a Signer makes"
        read = self.keys.read(line)
        if read is None:
            return "not signed with one of the keys, or signed for another field"
        _, audience, age = read
        if audience not in self.audiences:
            return f"signed for {audience}, and not for {' or '.join(self.audiences)}"
        if age > self.max_age:
            return f"signed {age} seconds ago, and max_age is {self.max_age}"
        if age < -LEEWAY:
            return f"signed {-age} seconds in the future: compare the clocks"
        return "valid"


@dataclass(frozen=True)
class SignedHeader(Header):
    """
    A request header with an ID that a ``Signer`` with one of our keys has signed.

    The ID has the provenance ``SIGNED``, whoever the peer is. A line counts
    only if it was signed for this ID and for this service, with one of the
    keys, and no longer than *max_age* ago. With any other line, whatever its
    bytes, the ID is absent, and the header leaves the request.

    Args:
        name: the name of the header, such as ``"X-Signed-User-ID"``.
        field: the name of the ID, such as ``"user_id"``.
        keys: the keys that are accepted, at least 32 bytes each. To replace
            one, add the new one here before a ``Signer`` uses it.
        audience: the name of this service, or several: the origins that it is
            called at, such as ``"https://billing.internal"``, unless the
            ``Signer`` has another name for it.
        max_age: the most seconds since the signing. A header that somebody
            has copied can be sent again for as long, so that more than 300
            are refused.
        unsafe_max_age_ok: accept a longer *max_age*.
        siblings: as for ``Header``.
        peers_too: as for ``Header``.

    Raises:
        PolicyError: an option is wrong; the message says what to write.
        ImportError: itsdangerous is not installed.
    """

    name: str
    parse: Callable[[str], str | None] | None = dataclasses.field(
        default=None, init=False, repr=False
    )
    verify: Callable[[str], str | None] = dataclasses.field(init=False, repr=False, compare=False)
    siblings: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    peers_too: bool = dataclasses.field(default=False, kw_only=True)
    field: str = dataclasses.field(kw_only=True)
    keys: Sequence[str | bytes] = dataclasses.field(kw_only=True, repr=False)
    audience: str | Sequence[str] = dataclasses.field(kw_only=True)
    max_age: int = dataclasses.field(default=_LONGEST_AGE, kw_only=True)
    unsafe_max_age_ok: bool = dataclasses.field(default=False, kw_only=True)
    _conditions: _Conditions = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_header("SignedHeader", self.name)
        field, keys = parse_field(self.field), parse_keys(self.keys)
        audiences = _parse_audiences(self.audience)
        self._check_max_age()
        conditions = _Conditions(FieldKeys(field, keys), audiences, self.max_age)
        _store(self, "field", field)
        _store(self, "keys", keys)
        _store(self, "audience", audiences)
        _store(self, "_conditions", conditions)
        _store(self, "verify", conditions.verify)
        super().__post_init__()

    def explain(self, line: str) -> str:
        """
        Return in words why *line* is believed, or why it is not; for a look at it by hand.

        Args:
            line: the value of the header.
        """
        return self._conditions.explain(line)

    def _check_max_age(self) -> None:
        age: object = self.max_age
        if type(age) is not int or age < 1:
            raise PolicyError.about(
                "max_age", f"is a number of seconds, not {age!r}: write max_age=300", age
            )
        if age > _LONGEST_AGE and self.unsafe_max_age_ok is not True:
            raise PolicyError.about(
                "max_age",
                f"is {age} seconds, in which a header that somebody has copied can be sent again: "
                f"write max_age={_LONGEST_AGE}, or add unsafe_max_age_ok=True",
                age,
            )


def check_header(option: str, name: object) -> None:
    """
    Check that *name* may be the name of a signed header.

    Args:
        option: the class or option that was given the name, for the message.
        name: the name.

    Raises:
        PolicyError: it may not.
    """
    fault = find_plain_header_fault(name)
    if fault is not None:
        raise PolicyError(
            f"{option} has {name!r}, which {fault.why}: "
            f"write {fault.instead or 'X-Signed-User-ID'!r}",
            option="name",
            value=name,
        )


def _parse_audiences(audience: object) -> tuple[str, ...]:
    if isinstance(audience, str) or not isinstance(audience, Iterable):
        return (parse_audience(audience),)
    several = tuple(parse_audience(each) for each in cast("Iterable[object]", audience))
    return several or (parse_audience(""),)
