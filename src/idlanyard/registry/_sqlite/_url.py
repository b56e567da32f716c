"""
The path of a file in a URL, and whether the namespace and SQLite itself can be used.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from idlanyard.exceptions import PolicyError

_START: Final = "sqlite:///"
_MEMORY: Final = (":memory:", "sqlite://:memory:", "sqlite::memory:")
_OLDEST: Final = (3, 35)


def parse_path(url: str) -> Path:
    """
    Return the absolute path in a URL.

    A relative one is resolved now, so that a later change of the working
    directory does not lead to another file.

    Raises:
        PolicyError: the URL names no file.
    """
    return Path(parse_name(url)).absolute()


def parse_name(url: str) -> str:
    """
    Return the path as it is written in a URL, percent-decoded.

    Raises:
        PolicyError: the URL names no file.
    """
    try:
        name = os.fsdecode(unquote_to_bytes(os.fsencode(url.removeprefix(_START))))
    except UnicodeEncodeError:
        raise PolicyError.about(
            "url", "has a character that no file name can have: leave it out"
        ) from None
    if name in _MEMORY:
        raise PolicyError.about("url", "names no file: for sessions in memory write 'memory://'")
    if url.startswith("sqlite://") and url[9:10] not in ("", "/"):
        raise PolicyError.about(
            "url", "names a host, and SQLite has none: write 'sqlite:///sessions.db', three slashes"
        )
    if "?" in url or "#" in url:
        raise PolicyError.about(
            "url", "takes no query: leave it out; in a file name write '?' as %3F, '#' as %23"
        )
    if not url.startswith(_START) or name.endswith(("/", os.sep)) or name in ("", ".", ".."):
        raise PolicyError.about(
            "url",
            "names no file: write 'sqlite:///sessions.db', or with four slashes "
            "'sqlite:////var/lib/sessions.db' for an absolute path",
        )
    if "\x00" in name:
        raise PolicyError.about("url", "has a NUL, which no file name can have: leave it out")
    return name


def check_namespace(namespace: str) -> None:
    """
    Check that tables may have the namespace.

    Raises:
        PolicyError: SQLite reserves it.
    """
    if f"{namespace}_".startswith("sqlite_"):
        raise PolicyError.about(
            "namespace", "begins with 'sqlite', whose tables are SQLite's own: write another"
        )


def check_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """
    Check that SQLite knows the statements.

    Raises:
        PolicyError: it is older than 3.35, of March 2021.
    """
    if version < _OLDEST:
        there = ".".join(map(str, version))
        raise PolicyError.about(
            "url",
            f"needs SQLite 3.35, and this Python was built with {there}: use a newer Python, "
            "or write 'postgresql://...' or 'redis://...'",
        )
