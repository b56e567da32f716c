"""
Headers, path and body of a WSGI ``environ``, and whether a decoded path is text. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

_LENGTH: Final = re.compile("[0-9]{0,18}")
_BROKEN_BYTE: Final = re.compile("%[89A-F][0-9A-F]")


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the headers, names in lower case.
    """
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return headers


def path_of(environ: Mapping[str, Any]) -> str | None:
    """
    Return the path, decoded; ``None`` if its bytes are not UTF-8.
    """
    try:
        return str(environ.get("PATH_INFO", "").encode("latin-1").decode())
    except UnicodeError:
        return None


def length_fault(environ: Mapping[str, Any]) -> int | None:
    """
    Return the status that refuses a body without a known end, else ``None``.

    It is 400 if the length is no number, and 411 if the body comes in chunks
    and the server does not mark their end.
    """
    if not _LENGTH.fullmatch(environ.get("CONTENT_LENGTH") or ""):
        return 400
    if is_chunked(environ) and "wsgi.input_terminated" not in environ:
        return 411
    return None


def is_chunked(environ: Mapping[str, Any]) -> bool:
    """
    Return whether the body comes in chunks.
    """
    return "HTTP_TRANSFER_ENCODING" in environ


def read_past(stream: Any, most: int) -> bytes:
    """
    Return a body, or the first ``most + 1`` bytes of one that is longer.

    Args:
        stream: a file of bytes, whose ``read`` may return fewer than asked for.
        most: the most bytes of a body that is returned whole.
    """
    body = bytearray()
    while len(body) <= most and (piece := stream.read(most + 1 - len(body))):
        body += piece
    return bytes(body)


def is_text(path: str, raw: str | bytes | None, *, broken: str) -> bool:
    """
    Return whether a path has been decoded without a replacement.

    A decoder that meets bytes that are not UTF-8 writes a replacement, which
    a client may also have sent as such. Only the raw path tells them apart.

    Args:
        path: the decoded path.
        raw: the path as it was sent, still encoded; ``None`` if the server
            does not pass it on.
        broken: the replacement: U+FFFD, or ``"%"`` for Django's ``%FF``.
    """
    doubtful = _BROKEN_BYTE.search(path) if broken == "%" else broken in path
    if not doubtful:
        return True
    if not isinstance(raw, str | bytes):
        return False
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeError:
        return False
    return True
