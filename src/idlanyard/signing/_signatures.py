"""
The text that vouches for one ID, and the keys that it is signed and verified with.

``https://billing.internal alice 1795761234.SIGNATURE``: the audience, the value, the
second of the signing, and an HMAC of all three.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Final, cast

from idlanyard._policy.keys import encode_secret
from idlanyard._policy.origins import read_origin
from idlanyard.exceptions import PolicyError

if TYPE_CHECKING:
    from itsdangerous import Signer

LEEWAY: Final = 10
"""
The most seconds by which the clock of a sender may be ahead of ours.
"""

_AUDIENCE: Final = re.compile(r"[!#-+\--:=?-\[\]-~]{1,255}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY: Final = "write keys=[os.environ['SIGNING_KEY']]"
# Of the 256 bits of a signature, the last letter has four: any other letter there would be
# another text with the same bits.
_LINE: Final = re.compile(
    r"([!-~]{1,255}) ([!-~]{1,1024}) ([0-9]{1,12})\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
)
_LONGEST: Final = 255 + 1 + 1024 + 1 + 12 + 1 + 43


def parse_field(field: object) -> str:
    """
    Return the name of an ID.

    Raises:
        PolicyError: *field* is no name of an ID.
    """
    if isinstance(field, str) and _FIELD.fullmatch(field):
        return field
    raise PolicyError.about(
        "field", f"is {field!r}, and names the ID that is signed: write field='user_id'", field
    )


def parse_keys(keys: object) -> tuple[bytes, ...]:
    """
    Return the keys as bytes; no message repeats any of them.

    Raises:
        PolicyError: *keys* is no list, or a key is missing or too short.
    """
    if keys is None:
        raise PolicyError.about("keys", f"is None: {_KEY}; is the variable set?")
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise PolicyError.about("keys", f"is a list, the key that signs first: {_KEY}")
    several = [encode_secret(key, "keys") for key in cast("Iterable[object]", keys)]
    if not several:
        raise PolicyError.about("keys", f"is empty, so nothing could be signed: {_KEY}")
    return tuple(several)


def parse_audience(audience: object) -> str:
    """
    Return the name of a service; an origin is spelled in one way, whatever its case or port.

    Raises:
        PolicyError: *audience* is no such name.
    """
    if not isinstance(audience, str) or not _AUDIENCE.fullmatch(audience):
        raise PolicyError.about(
            "audience",
            f"is {audience!r}, and names the service that the signature is for, without spaces: "
            f"write audience='https://billing.internal'",
            audience,
        )
    if "://" not in audience:
        return audience
    origin = read_origin(audience)
    if origin is None or origin.subdomains:
        raise PolicyError.about(
            "audience",
            f"is {audience!r}, which is no origin: write scheme, host and port only, such as "
            f"'https://billing.internal:8443'",
            audience,
        )
    return str(origin)


def _make_signer(field: str, keys: tuple[bytes, ...]) -> Signer:
    try:
        from itsdangerous import Signer
    except ImportError as error:
        raise ImportError(
            "signed headers need itsdangerous: run pip install 'idlanyard[signing]'",
            name="itsdangerous",
        ) from error
    # itsdangerous signs with the last key, and by default with SHA-1.
    return Signer(
        [*reversed(keys)],
        salt=f"idlanyard {field}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )


class FieldKeys:
    """
    The keys that vouch for the values of one ID, and for no other ID.

    Args:
        field: the name of the ID.
        keys: the keys; the first one signs, all are accepted.
    """

    __slots__ = ("_signer",)

    def __init__(self, field: str, keys: tuple[bytes, ...]) -> None:
        self._signer = _make_signer(field, keys)

    def sign(self, value: str, audience: str) -> str:
        """
        Return the text that vouches for *value* to *audience* from now on.
        """
        return self._signer.sign(f"{audience} {value} {int(time.time())}").decode("ascii")

    def verify(self, line: str, audiences: Container[str], max_age: int) -> str | None:
        """
        Return the value that *line* vouches for, or ``None``; no text raises.

        Args:
            line: hostile input.
            audiences: the names of this service.
            max_age: the most seconds since the signing.
        """
        match = _LINE.fullmatch(line) if len(line) <= _LONGEST else None
        if match is None:
            return None
        signed, _, signature = line.rpartition(".")
        if not self._signer.verify_signature(signed, signature):
            return None
        audience, value, second = match.groups()
        age = int(time.time()) - int(second)
        return value if audience in audiences and -LEEWAY <= age <= max_age else None
