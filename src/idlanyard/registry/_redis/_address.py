"""
What a URL says: where the server is, who asks, and how it proves itself. Pure.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from idlanyard.exceptions import PolicyError

_EXAMPLE: Final = "write 'redis://user:password@host:6379/0'"
_PORT: Final = 6379
_DATABASE: Final = re.compile(r"/?|/([0-9]{1,5})/?")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f]")
_FLAGS: Final = {"true": True, "false": False}
_CHECKS: Final = {"required": "required", "none": "none"}
_OPTIONS: Final[dict[str, dict[str, Any] | None]] = {
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": _CHECKS,
    "ssl_check_hostname": _FLAGS,
}


def options_of(url: str, scheme: str) -> dict[str, Any]:
    """
    Return a URL as options of redis-py's connections.

    Raises:
        PolicyError: it cannot be followed; the message has nothing of it that
            may be secret.
    """
    parts = _split(url)
    options: dict[str, Any] = {"host": parts.hostname, "port": parts.port or _PORT}
    options |= _login(parts)
    options |= _database(parts)
    return options | _certificates(parts.query, scheme)


def _split(url: str) -> SplitResult:
    """
    Return the parts of a URL that names one server.
    """
    # urlsplit drops some of these without a word.
    if _UNSAFE.search(url):
        raise PolicyError.about("url", "has a space or a control character: percent-encode it")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        named = bool(host) and parts.port != 0
    except ValueError:
        named = False
        parts = SplitResult("", "", "", "", "")
    if not named or parts.fragment:
        raise PolicyError.about(
            "url", f"names one host and its port: {_EXAMPLE}, with what is special percent-encoded"
        )
    return parts


def _login(parts: SplitResult) -> dict[str, Any]:
    """
    Return the user and the password, where there are any.
    """
    if parts.username and not parts.password:
        raise PolicyError.about("url", f"has a user without a password: {_EXAMPLE}")
    login: dict[str, Any] = {}
    if parts.username:
        login["username"] = unquote(parts.username)
    if parts.password:
        login["password"] = unquote(parts.password)
    return login


def _database(parts: SplitResult) -> dict[str, Any]:
    """
    Return the database, where it is not the first.
    """
    match = _DATABASE.fullmatch(parts.path)
    if match is None:
        raise PolicyError.about("url", f"ends in the number of a database: {_EXAMPLE}")
    number = int(match[1] or 0)
    return {"db": number} if number else {}


def _certificates(query: str, scheme: str) -> dict[str, Any]:
    """
    Return what is said about certificates.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise PolicyError.about("url", "has options that are none: write '?name=value'") from None
    if pairs and scheme != "rediss":
        raise PolicyError.about("url", "has options, which only rediss:// takes: leave them out")
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _OPTIONS or name in options:
            raise PolicyError.about("url", f"has each of these options once: {', '.join(_OPTIONS)}")
        options[name] = _value(name, value)
    return options


def _value(name: str, text: str) -> Any:
    known = _OPTIONS[name]
    if known is not None and text in known:
        return known[text]
    if known is not None or not text:
        wanted = " or ".join(known) if known is not None else "the path of a file"
        raise PolicyError.about("url", f"has a {name} that is none: write {wanted}")
    return text
