"""
Generators of IDs for ``mint=...``, and file names for IDs.
"""

from __future__ import annotations

import os
import re
import time
from enum import StrEnum
from typing import Final

__all__ = ["safe_filename", "timestamped", "token", "uuid4", "uuid7"]

_entropy: Final = os.urandom
_FILENAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,199}")
_RESERVED_FILENAMES: Final = re.compile(r"(?i)con|prn|aux|nul|com[0-9]|lpt[0-9]")


class Provenance(StrEnum):
    """
    The way by which the value of an ID came in.
    """

    MINTED = "minted"
    CLIENT = "client"
    PEER = "peer"
    SIGNED = "signed"
    CODE = "code"
    ENVIRONMENT = "environment"

    @property
    def proven(self) -> bool:
        """
        Whether the value is proven: a client or the environment proves nothing.
        """
        return self is not Provenance.CLIENT and self is not Provenance.ENVIRONMENT


def token() -> str:
    """
    Return 32 lower-case hex digits, 128 bits from the operating system.

    No pool of random bytes is kept: a machine restored from a snapshot would repeat it.
    """
    return _entropy(16).hex()


def uuid4() -> str:
    """
    Return a random UUID (RFC 9562, version 4) with its hyphens.
    """
    from uuid import UUID

    return str(UUID(bytes=os.urandom(16), version=4))


def uuid7() -> str:
    """
    Return a UUID that sorts by time (RFC 9562, version 7), with 74 random bits.
    """
    milliseconds = time.time_ns() // 1_000_000
    drawn = int.from_bytes(os.urandom(10), "big")
    number = (milliseconds & (1 << 48) - 1) << 80 | drawn
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    from uuid import UUID

    return str(UUID(int=number))


def timestamped(prefix: str = "session") -> str:
    """
    Return ``prefix_YYYYMMDD_HHMMSS_`` and 16 hex digits (64 random bits).

    The time is UTC, so that IDs sort by the second in which they were made.

    Args:
        prefix: the beginning of the ID.
    """
    # Without an argument gmtime() reads a coarser clock, which may lag into the second before.
    now = time.strftime("%Y%m%d_%H%M%S", time.gmtime(time.time()))
    return f"{prefix}_{now}_{os.urandom(8).hex()}"


def safe_filename(id: str) -> str:
    """
    Return a file name for *id*, another one for each ID, without separators or a first dot.

    An ID of up to 200 characters of ``A-Z a-z 0-9 _ -``, not beginning with
    ``-``, is its own file name. Any other becomes its allowed characters,
    ``~`` and 32 hex digits of its SHA-256; no ID of the first kind has a ``~``.

    Raises:
        TypeError: *id* is not a ``str``.
        ValueError: *id* is empty.
    """
    if not isinstance(id, str):
        raise TypeError(f"an ID is a str, not {type(id).__name__}: write str(...)")
    if not id:
        raise ValueError("an empty ID names no file")
    if _FILENAME.fullmatch(id) and not _RESERVED_FILENAMES.fullmatch(id):
        return id
    from hashlib import sha256

    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", id[:64]).lstrip("-")
    digest = sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{readable}~{digest}"
