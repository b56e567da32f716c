"""
The session cookie: the check of its name, and the source that reads it.
"""

from __future__ import annotations

import re
from typing import Final

from idlanyard._policy.sources import Cookie, Source
from idlanyard.exceptions import PolicyError

_PREFIX: Final = "__Host-"
# Browsers keep a cookie of at most 4,096 bytes, name and value together.
_NAME: Final = re.compile(rf"{_PREFIX}[!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,128}}")
_OTHER_PREFIX: Final = re.compile(r"__(?:host|secure)-", re.IGNORECASE)


def check_cookie(name: str, cookie: object, *, is_signed: bool) -> None:
    """
    Refuse a cookie for another ID than the session, without a signature, or of another name.

    Args:
        name: the name of the ID.
        cookie: the name of the cookie, ``None`` for none.
        is_signed: whether only IDs with a signature come in.

    Raises:
        PolicyError: the message says what to write.
    """
    if cookie is None:
        return
    if name != "session_id":
        raise PolicyError.about(
            "cookie", f"of {name} is set for the session alone: leave it out", cookie
        )
    if not isinstance(cookie, str) or not _NAME.fullmatch(cookie):
        raise PolicyError.about(
            "cookie",
            f"of {name} is the name of a cookie that no other host can set, not {cookie!r}: "
            f"write cookie={_suggest_name(cookie)!r}",
            cookie,
        )
    if not is_signed:
        raise PolicyError.about(
            "cookie",
            f"of {name} is for sessions that were minted here: write "
            f"signed=[os.environ['SESSION_KEY']] beside it",
            cookie,
        )


def _suggest_name(cookie: object) -> str:
    given = cookie.name if isinstance(cookie, Cookie) else cookie
    rest = _OTHER_PREFIX.sub("", given, count=1) if isinstance(given, str) else ""
    name = f"{_PREFIX}{rest}"
    return name if _NAME.fullmatch(name) else f"{_PREFIX}session"


def add_cookie(cookie: str | None, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """
    Return the sources of an ID with its cookie, at the end unless it has a place already.
    """
    source = None if cookie is None else Cookie(cookie)
    return sources if source is None or source in sources else (*sources, source)
