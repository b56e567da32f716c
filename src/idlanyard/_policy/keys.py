"""
Secrets and keys: their form, and the signatures of minted IDs and of carriers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, cast

from idlanyard.exceptions import PolicyError

LEAST_SECRET: Final = 32
"""
The least length of a secret or key, in bytes.
"""
# Servers strip white space from the ends of a header, and refuse these characters inside.
_UNSENDABLE: Final = re.compile(rb"^[ \t]|[ \t]$|[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS: Final = 32
_SIGNATURE: Final = re.compile(rf"\.[0-9a-f]{{{_DIGITS}}}\Z")
PROOF_DIGITS: Final = 64
"""
The length of the proof of a carrier.
"""


class Signatures:
    """
    The signatures of the IDs that a service has minted.

    A signed ID is the ID, a dot, and 32 hex digits: the first 128 bits of the
    HMAC-SHA256 over the name of the ID and the ID (RFC 2104).

    Args:
        name: the name of the ID, such as ``"session_id"``.
        keys: the keys; the first one signs, and each is accepted.
    """

    __slots__ = ("_compare", "_digest", "_keys", "_name")

    def __init__(self, name: str, keys: Iterable[bytes]) -> None:
        # Imported where there are keys only, and not for every request.
        from hmac import compare_digest, digest

        self._compare, self._digest = compare_digest, digest
        self._name = name
        self._keys = tuple(keys)

    def sign(self, value: str) -> str:
        """
        Return *value* with its signature.
        """
        return f"{value}.{self._compute(self._keys[0], value)}"

    def is_signed(self, value: str) -> bool:
        """
        Return whether *value* is an ID with its signature by one of the keys.
        """
        text, _, signature = value.rpartition(".")
        if not text or len(signature) != _DIGITS or not signature.isascii():
            return False
        # Every key is compared, so that the time does not depend on which one matches.
        matches = [self._compare(self._compute(key, text), signature) for key in self._keys]
        return any(matches)

    def _compute(self, key: bytes, value: str) -> str:
        message = f"signed {self._name}:{value}".encode()
        return self._digest(key, message, "sha256").hex()[:_DIGITS]


def remove_signature(value: str) -> str:
    """
    Return a signed ID without its signature, and any other text as it is.
    """
    return value[: -_DIGITS - 1] if _SIGNATURE.search(value) else value


class QueueProofs:
    """
    The proofs of the carriers that are sent through a queue.

    A proof is the HMAC-SHA256 over ``carrier`` and all entries, in hex digits.
    No other signature of this package is over a text that begins so.

    Args:
        keys: the keys; the first one signs, and each is accepted.
    """

    __slots__ = ("_compare", "_digest", "_keys")

    def __init__(self, keys: Iterable[bytes]) -> None:
        # Imported where there are keys only, and not for every process.
        from hmac import compare_digest, digest

        self._compare, self._digest = compare_digest, digest
        self._keys = tuple(keys)

    def prove(self, text: str) -> str:
        """
        Return the proof of a carrier.

        Args:
            text: all its entries as ASCII text; no other carrier has the same.
        """
        return self._compute(self._keys[0], text)

    def is_proof(self, proof: str, text: str) -> bool:
        """
        Return whether one of the keys has made *proof* for the entries in *text*.
        """
        if len(proof) != PROOF_DIGITS or not proof.isascii():
            return False
        # Every key is compared, so that the time does not depend on which one matches.
        matches = [self._compare(self._compute(key, text), proof) for key in self._keys]
        return any(matches)

    def _compute(self, key: bytes, text: str) -> str:
        return self._digest(key, f"carrier {text}".encode("ascii"), "sha256").hex()


def parse_queue_keys(given: object) -> tuple[bytes, ...] | None:
    """
    Return the keys that sign carriers, ``None`` where none were asked for.

    Raises:
        PolicyError: it is no list of keys, it is empty, or a key is too short; the message
            repeats none.
    """
    return _parse_keys(
        given,
        "queue_keys",
        "is a list of keys, the new one first, and not empty: write "
        "queue_keys=[os.environ['QUEUE_KEY']]",
    )


def parse_signing_keys(name: str, given: object) -> tuple[bytes, ...] | None:
    """
    Return the keys that sign the ID *name*, ``None`` where none were asked for.

    Raises:
        PolicyError: it is no list of keys, it is empty, or a key is too short; the message
            repeats none.
    """
    return _parse_keys(
        given,
        "signed",
        f"of {name} is a list of keys, the new one first, and not empty: write "
        f"signed=[os.environ['SESSION_KEY']]",
    )


def _parse_keys(given: object, option: str, sentence: str) -> tuple[bytes, ...] | None:
    """
    Return the keys of an option; *sentence* is the message for anything but a list of them.
    """
    if given is None:
        return None
    if isinstance(given, list | tuple) and given:
        return tuple(encode_secret(key, option) for key in cast("Iterable[object]", given))
    raise PolicyError.about(option, sentence)


def encode_secret(secret: object, option: str) -> bytes:
    """
    Return a secret or key as bytes.

    Args:
        secret: text or bytes.
        option: the option that it was given to.

    Raises:
        PolicyError: it is no secret, or too short; the message repeats none of it.
    """
    if secret is None or secret in ("", b""):
        empty = "None" if secret is None else "empty"
        raise PolicyError.about(option, f"has a secret that is {empty}: is the variable set?")
    key = secret.encode("utf-8", "replace") if isinstance(secret, str) else secret
    if not isinstance(key, bytes):
        raise PolicyError.about(
            option, f"takes text or bytes as secrets, not {type(secret).__name__}"
        )
    if len(key) < LEAST_SECRET:
        raise PolicyError.about(
            option,
            f"needs secrets of at least {LEAST_SECRET} bytes: make one with "
            f'python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    if option == "shared_secret":
        if _UNSENDABLE.search(key):
            raise PolicyError.about(
                option,
                "has a secret with white space at an end or a control character, which no header "
                "carries: was it read from a file, with the end of its line?",
            )
    elif _has_space_at_an_end(key):
        raise PolicyError.about(
            option,
            "has a key with white space at an end: was it read from a file, with the end of its "
            "line? Write key.strip() for it",
        )
    return key


def show_value(given: object) -> str:
    """
    Return the ``repr`` of a value for a message, unless it may be a key by mistake.
    """
    return "a value that is too long to be shown here" if may_be_key(given) else repr(given)


def may_be_key(given: object) -> bool:
    """
    Return whether a value is as long as a key, so that no message and no error repeats it.
    """
    return len(repr(given).encode("utf-8", "replace")) >= LEAST_SECRET + len("''")


def _has_space_at_an_end(key: bytes) -> bool:
    """
    Return whether a key is text that begins or ends with white space.
    """
    try:
        text = key.decode()
    except UnicodeDecodeError:
        # One random key in twenty begins or ends with such a byte.
        return False
    return text != text.strip()
