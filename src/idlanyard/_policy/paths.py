"""
The paths of ``exclude``: exact ones, and prefixes such as ``/static/*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# Other tools read these as patterns; in an exact path they would never match.
_PATTERN: Final = re.compile(r"[*?{}<>\[\]^|\\]|\(\?|\.\+|\$$|(?<=/):(?=\w)")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_PLAIN: Final = "'/health' or '/static/*'"


class Paths:
    """
    A set of exact paths and prefixes.

    Args:
        entries: ``"/health"`` holds that path alone; ``"/static/*"`` holds
            every path that begins with ``/static/``.

    Attributes:
        entries: the same entries.
    """

    __slots__ = ("_exact", "_prefixes", "entries")

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries: tuple[str, ...] = tuple(entries)
        self._exact = frozenset(entry for entry in self.entries if not entry.endswith("/*"))
        self._prefixes = tuple(entry[:-1] for entry in self.entries if entry.endswith("/*"))

    def __contains__(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._prefixes)

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)


def find_path_fault(entry: object) -> str | None:
    """
    Return the fault of an entry of ``exclude``, with what to write, or ``None`` if it has none.
    """
    if not isinstance(entry, str):
        return f"write paths as text, such as {_PLAIN}"
    literal = entry.removesuffix("*") if entry.endswith("/*") else entry
    if _PATTERN.search(literal):
        return (
            f"where * may stand only at the end, behind a slash, and nothing else is a wildcard: "
            f"write {_suggest_path(entry)}"
        )
    if not entry.startswith("/") or _ESCAPE.search(entry) or "#" in entry:
        return f"which is no path: write {_suggest_path(entry)}"
    return None


def suggest_paths(text: str) -> list[str]:
    """
    Return the list of paths to write in place of one text.
    """
    parts = [part for part in re.split(r"[,\s]+", text) if part]
    return [
        part if find_path_fault(part) is None else _extract_path(part) or "/health"
        for part in parts
    ]


def _suggest_path(entry: str) -> str:
    exact = _extract_path(entry)
    if not exact:
        return _PLAIN
    return f"{exact!r} or {exact + '/*'!r}" if _PATTERN.search(entry) else repr(exact)


def _extract_path(entry: str) -> str:
    """
    Return the path that an entry begins with, or ``""`` if it begins with none.
    """
    from urllib.parse import unquote

    if "://" in entry:
        # urlsplit raises ValueError for a URL such as http://[.
        _, slash, path = entry.partition("://")[2].partition("/")
        entry = f"{slash}{path}".partition("?")[0]
    entry = entry.lstrip("^").partition("#")[0]
    literal = _PATTERN.split(entry, maxsplit=1)[0]
    whole = unquote(literal).strip()
    whole = whole if literal == entry else whole.partition("(")[0].rstrip("/.")
    if not whole or whole == "/":
        return ""
    path = whole if whole.startswith("/") else f"/{whole}"
    return path if find_path_fault(path) is None else ""
