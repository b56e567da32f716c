"""
From a URL to the path of a file. Pure but for the working directory.
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


def path_of(url: str) -> Path:
    """
    Return the absolute path that a URL names.

    A relative one is taken from the working directory of this moment, so that
    no later change of it, nor a connection made anew, leads to another file.

    Raises:
        PolicyError: it names no file.
    """
    return Path(name_of(url)).absolute()


def name_of(url: str) -> str:
    """
    Return the path as it is written, percent-encoded characters decoded.

    Raises:
        PolicyError: it names no file.
    """
    try:
        name = os.fsdecode(unquote_to_bytes(os.fsencode(url.removeprefix(_START))))
    except UnicodeEncodeError:
        raise PolicyError.about("url", "has what no file's name has: leave it out") from None
    if name in _MEMORY:
        raise PolicyError.about("url", "names no file: for sessions in memory write 'memory://'")
    if url.startswith("sqlite://") and url[9:10] not in ("", "/"):
        raise PolicyError.about(
            "url", "names a host, and SQLite has none: write 'sqlite:///sessions.db', three slashes"
        )
    if "?" in url or "#" in url:
        raise PolicyError.about(
            "url", "takes no query: leave it out; in a file's name write '?' as %3F, '#' as %23"
        )
    if not url.startswith(_START) or name.endswith(("/", os.sep)) or name in ("", ".", ".."):
        raise PolicyError.about(
            "url",
            "names no file: write 'sqlite:///sessions.db', or with four slashes "
            "'sqlite:////var/lib/sessions.db' for an absolute path",
        )
    if "\x00" in name:
        raise PolicyError.about("url", "has NUL, which no file's name has: leave it out")
    return name


def refuse_reserved(namespace: str) -> None:
    """
    Refuse a namespace that no table may have.

    Raises:
        PolicyError: it is one.
    """
    if f"{namespace}_".startswith("sqlite_"):
        raise PolicyError.about(
            "namespace", "begins with 'sqlite', whose tables are SQLite's own: write another"
        )


def refuse_old(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """
    Refuse a library that does not know the statements.

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
