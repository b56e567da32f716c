"""
The text that vouches for one ID, and the keys that it is signed and verified with.

``https://billing.internal alice 1795761234.SIGNATURE``: the audience, the value, the
second of the signing, and an HMAC of all three.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from idlanyard._policy.keys import encode_secret, may_be_key
from idlanyard._policy.origins import read_origin
from idlanyard.exceptions import PolicyError

if TYPE_CHECKING:
    from itsdangerous import Signer

_AUDIENCE: Final = re.compile(r"[!#-+\--:=?-\[\]-~]{1,255}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VALUE: Final = re.compile(r"[!-~]{1,1024}")
_KEY: Final = "write keys=[os.environ['SIGNING_KEY']]"
# The last letter of a signature has four bits of its 256, and two that count for nothing: more
# letters there would be other texts with the same signature.
_LINE: Final = re.compile(
    r"([!-~]{1,255}) ([!-~]{1,1024}) ([0-9]{1,12})\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
)
_LONGEST: Final = 255 + 1 + 1024 + 1 + 12 + 1 + 43


def parse_field(field: object) -> str:
    """
    Return the name of an ID, ``tenant_id`` also for ``customer_id``.

    Raises:
        PolicyError: *field* is no name of an ID.
    """
    if isinstance(field, str) and _FIELD.fullmatch(field):
        return "tenant_id" if field == "customer_id" else field
    raise _wrong_name("field", field, "names the ID that is signed: write field='user_id'")


def parse_keys(keys: object) -> tuple[bytes, ...]:
    """
    Return the keys as bytes; no message repeats any of them.

    Raises:
        PolicyError: *keys* is no list, or a key is missing or too short.
    """
    if not isinstance(keys, list | tuple) or not keys:
        raise PolicyError.about("keys", f"is a list, with the key that signs first: {_KEY}")
    return tuple(encode_secret(key, "keys") for key in cast("Sequence[object]", keys))


def parse_audience(audience: object) -> str:
    """
    Return the name of a service; an origin is spelled in one way, whatever its case or port.

    Raises:
        PolicyError: *audience* is no such name.
    """
    if not isinstance(audience, str) or not _AUDIENCE.fullmatch(audience):
        raise _wrong_name(
            "audience",
            audience,
            "names the service that the signature is for, without spaces: "
            "write audience='https://billing.internal'",
        )
    if "://" not in audience:
        return audience
    origin = read_origin(audience)
    if origin is None or origin.subdomains:
        raise _wrong_name(
            "audience",
            audience,
            "is no origin: write scheme, host and port only, such as "
            "'https://billing.internal:8443'",
        )
    return str(origin)


def _wrong_name(option: str, given: object, sentence: str) -> PolicyError:
    """
    Return the error for a name that is none; by mistake it may be a key, which is not repeated.
    """
    if may_be_key(given):
        return PolicyError.about(option, f"is too long to be shown here, and {sentence}")
    return PolicyError.about(option, f"is {given!r}, and {sentence}", given)


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

        Raises:
            ValueError: *value* is no ID; the message does not repeat it.
        """
        if not _VALUE.fullmatch(value):
            raise ValueError("only visible ASCII characters, 1 to 1,024 of them, can be signed")
        return self._signer.sign(f"{audience} {value} {int(time.time())}").decode("ascii")

    def read(self, line: str) -> tuple[str, str, int] | None:
        """
        Return the value, the audience and the age of a line, ``None`` if no key has signed it.

        No text raises an exception.

        Args:
            line: hostile input.
        """
        match = match_line(line)
        if match is None:
            return None
        signed, _, signature = line.rpartition(".")
        if not self._signer.verify_signature(signed, signature):
            return None
        audience, value, second = match.groups()
        return value, audience, int(time.time()) - int(second)


def match_line(line: str) -> re.Match[str] | None:
    """
    Return the match of a line that has the form of a signed one, whoever has made it.
    """
    return _LINE.fullmatch(line) if len(line) <= _LONGEST else None
