"""
The session cookie: the check of its name, and the source that reads it.
"""

from __future__ import annotations

import re
from typing import Final

from idlanyard._policy.keys import may_be_key, show_value
from idlanyard._policy.sources import Cookie, Source
from idlanyard.exceptions import PolicyError

_PREFIX: Final = "__Host-"
# Browsers keep a cookie of at most 4,096 bytes, name and value together.
_NAME: Final = re.compile(rf"{_PREFIX}[!#$%&'*+\-.^_`|~0-9A-Za-z]{{1,128}}")
_OTHER_PREFIX: Final = re.compile(r"__(?:host|secure)-", re.IGNORECASE)


def check_cookie(name: str, cookie: object, *, is_signed: bool, is_forwarded: bool) -> None:
    """
    Refuse a cookie for another ID than the session, without a signature, or of another name.

    By mistake the name may be a key, which no message repeats.

    Args:
        name: the name of the ID.
        cookie: the name of the cookie, ``None`` for none.
        is_signed: whether only IDs with a signature come in.
        is_forwarded: whether the application sees the ID in its header.

    Raises:
        PolicyError: the message says what to write.
    """
    if cookie is None:
        return
    given = cookie.name if isinstance(cookie, Cookie) else cookie
    evidence = None if may_be_key(given) else cookie
    if name != "session_id":
        raise PolicyError.about(
            "cookie", f"of {name} is set for the session alone: leave it out", evidence
        )
    if not isinstance(cookie, str) or not _NAME.fullmatch(cookie):
        raise PolicyError.about(
            "cookie",
            f"of {name} is the name of a cookie that no other host can set, not "
            f"{show_value(given)}: write cookie={_suggest_name(given)!r}",
            evidence,
        )
    if not is_signed:
        raise PolicyError.about(
            "cookie",
            f"of {name} is for sessions that were minted here: write "
            f"signed=[os.environ['SESSION_KEY']] beside it",
            cookie,
        )
    if not is_forwarded:
        # An adapter between ASGI and WSGI hands on nothing else.
        raise PolicyError.about(
            "cookie",
            f"of {name} needs its header in the requests that the application sees, by which a "
            f"middleware inside another one knows the session: leave out forward=False",
            cookie,
        )


def _suggest_name(given: object) -> str:
    name = given if isinstance(given, str) and not may_be_key(given) else ""
    rest = _OTHER_PREFIX.sub("", name, count=1)
    name = f"{_PREFIX}{rest}"
    return name if _NAME.fullmatch(name) else f"{_PREFIX}session"


def add_cookie(cookie: str | None, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """
    Return the sources of an ID with its cookie, at the end unless it has a place already.
    """
    source = None if cookie is None else Cookie(cookie)
    return sources if source is None or source in sources else (*sources, source)
