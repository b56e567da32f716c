"""
Parsing of a store's URL: the address of the server, the login and the certificates. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from idlanyard.exceptions import PolicyError

Kind: TypeAlias = Literal["tcp", "tls", "unix"]
"""
The kind of connection.
"""
Node: TypeAlias = tuple[str, int]
"""
Address of a server: a host and a port, or the path of a Unix socket and 0.
"""

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS: Final = frozenset({"rediss", "valkeys", "rediss+sentinel", "valkeys+sentinel"})
_UNIX: Final = frozenset({"unix", "redis+unix", "valkey+unix"})
_DATABASE: Final = re.compile(r"/?|/([0-9]{1,5})/?")
_SERVICE: Final = re.compile(r"/([^/]+)(?:/([0-9]{1,5})?)?")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f]")
_SPECIAL: Final = "with what is special percent-encoded"
_FLAGS: Final = {"true": True, "false": False}
_CHECKS: Final = {"required": "required", "none": "none"}
_OPTIONS: Final[dict[str, dict[str, Any] | None]] = {
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": _CHECKS,
    "ssl_check_hostname": _FLAGS,
}
_LOGINS: Final = {"sentinel_username": "username", "sentinel_password": "password"}


class Target(NamedTuple):
    """
    A parsed URL.

    Attributes:
        scheme: the scheme.
        nodes: the server to ask first, or the Sentinels.
        kind: the kind of connection.
        options: arguments of redis-py's connections, without the address.
        service: the Sentinels' name for the primary and its replicas.
        sentinel_options: as *options*, for connections to the Sentinels.
    """

    scheme: str
    nodes: tuple[Node, ...]
    kind: Kind
    options: dict[str, Any]
    service: str | None = None
    sentinel_options: Mapping[str, Any] = {}

    def options_of(self, node: Node, *, is_sentinel: bool = False) -> dict[str, Any]:
        """
        Return the arguments of a connection to a node.
        """
        options = self.sentinel_options if is_sentinel else self.options
        if self.kind == "unix" and node in self.nodes:
            return {**options, "path": node[0]}
        return {**options, "host": node[0], "port": node[1]}

    def kind_of(self, node: Node) -> Kind:
        """
        Return the kind of connection to a node.

        A Unix socket may lead to a node of a cluster; the other nodes are reached over TCP.
        """
        return "tcp" if self.kind == "unix" and node not in self.nodes else self.kind


def parse_url(url: str, scheme: str) -> Target:
    """
    Parse a URL.

    Raises:
        PolicyError: the URL is wrong. The message contains nothing of it that
            may be secret.
    """
    # urlsplit (CPython 3.11 to 3.13) drops tabs and newlines silently.
    if _UNSAFE.search(url):
        raise PolicyError.about("url", "has a space or a control character: percent-encode it")
    if scheme in _UNIX:
        return _parse_socket_url(url, scheme)
    if scheme.endswith("+sentinel"):
        return _parse_sentinel_url(url, scheme)
    parts = _split_url(url, scheme)
    pairs = _query_options(parts.query)
    _refuse_unknown(pairs, _OPTIONS if scheme in _TLS else (), scheme)
    options = _login_options(parts, scheme) | _database_option(
        _DATABASE.fullmatch(parts.path), scheme
    )
    options |= _certificate_options(pairs)
    node = (parts.hostname or "", parts.port or _PORT)
    return Target(scheme, (node,), "tls" if scheme in _TLS else "tcp", options)


def _parse_socket_url(url: str, scheme: str) -> Target:
    """
    Parse the URL of a Unix socket.
    """
    parts = _split_any_url(url, scheme)
    path = unquote(parts.path)
    if parts.hostname or len(path) < 2 or parts.fragment:
        raise PolicyError.about(
            "url", f"names the path of a socket: {_example_url(scheme)}, {_SPECIAL}"
        )
    pairs = _query_options(parts.query)
    _refuse_unknown(pairs, ("db",), scheme)
    given = pairs.get("db")
    options = _login_options(parts, scheme)
    if given is not None:
        options |= _database_option(_DATABASE.fullmatch(f"/{given}") if given else None, scheme)
    return Target(scheme, ((path, 0),), "unix", options)


def _parse_sentinel_url(url: str, scheme: str) -> Target:
    """
    Parse the URL of a service whose primary is known to Sentinels.
    """
    start, _, rest = url.partition("://")
    authority, mark, tail = re.match(r"([^/?#]*)(/?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    login, at, hosts = authority.rpartition("@")
    several = [
        _split_url(f"{start}://{login}{at}{host}{mark}{tail}", scheme) for host in hosts.split(",")
    ]
    parts = several[0]
    match = _SERVICE.fullmatch(parts.path)
    if match is None:
        raise PolicyError.about("url", f"names a service of the Sentinels: {_example_url(scheme)}")
    pairs = _query_options(parts.query)
    is_tls = scheme in _TLS
    _refuse_unknown(pairs, (*_LOGINS, *(_OPTIONS if is_tls else ())), scheme)
    certificates = _certificate_options({name: pairs[name] for name in pairs if name in _OPTIONS})
    options = _login_options(parts, scheme) | certificates
    if number := int(match[2] or 0):
        options["db"] = number
    logins = {_LOGINS[name]: pairs[name] for name in pairs if name in _LOGINS}
    nodes = tuple((one.hostname or "", one.port or _SENTINEL_PORT) for one in several)
    kind: Kind = "tls" if is_tls else "tcp"
    return Target(scheme, nodes, kind, options, unquote(match[1]), logins | certificates)


def _split_url(url: str, scheme: str) -> SplitResult:
    """
    Split a URL that names one server.
    """
    parts = _split_any_url(url, scheme)
    try:
        host = parts.hostname or ""
        host.encode("idna")
        named = bool(host) and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.fragment:
        raise PolicyError.about(
            "url", f"names {_target_words(scheme)}: {_example_url(scheme)}, {_SPECIAL}"
        )
    return parts


def _split_any_url(url: str, scheme: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise PolicyError.about(
            "url", f"names {_target_words(scheme)}: {_example_url(scheme)}, {_SPECIAL}"
        ) from None


def _target_words(scheme: str) -> str:
    if scheme in _UNIX:
        return "the path of a socket"
    several = scheme.endswith("+sentinel")
    return "the hosts of Sentinels and their ports" if several else "one host and its port"


def _example_url(scheme: str) -> str:
    """
    Return the advice to write a URL of this scheme that works.
    """
    if scheme in _UNIX:
        return f"write '{scheme}:///run/redis.sock?db=0'"
    if scheme.endswith("+sentinel"):
        return f"write '{scheme}://user:password@host1:26379,host2:26379/service/0'"
    return f"write '{scheme}://user:password@host:6379/0'"


def _login_options(parts: SplitResult, scheme: str) -> dict[str, Any]:
    """
    Return the user and the password as arguments of a connection; empty if there are none.
    """
    if parts.username and not parts.password:
        raise PolicyError.about("url", f"has a user without a password: {_example_url(scheme)}")
    login: dict[str, Any] = {}
    if parts.username:
        login["username"] = unquote(parts.username)
    if parts.password:
        login["password"] = unquote(parts.password)
    return login


def _database_option(match: re.Match[str] | None, scheme: str) -> dict[str, Any]:
    """
    Return the database as argument of a connection; empty for database 0.
    """
    if match is None:
        raise PolicyError.about("url", f"ends in the number of a database: {_example_url(scheme)}")
    number = int(match[1] or 0)
    return {"db": number} if number else {}


def _query_options(query: str) -> dict[str, str]:
    """
    Return the options of a URL's query.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise PolicyError.about("url", "has options that are none: write '?name=value'") from None
    if len(dict(pairs)) < len(pairs):
        raise PolicyError.about("url", "has an option twice: write each of these options once")
    return dict(pairs)


def _refuse_unknown(pairs: Mapping[str, str], known: Iterable[str], scheme: str) -> None:
    """
    Raise PolicyError for options that the scheme does not take.
    """
    names = tuple(known)
    if all(name in names for name in pairs):
        return
    if names:
        raise PolicyError.about("url", f"has each of these options once: {', '.join(names)}")
    raise PolicyError.about(
        "url",
        f"has options, which only {scheme}s:// takes (it speaks TLS): "
        f"leave them out, and write a database at the end, as in '{scheme}://host:6379/1'",
    )


def _certificate_options(pairs: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the options about certificates as arguments of a connection.
    """
    return {name: _option_value(name, text) for name, text in pairs.items()}


def _option_value(name: str, text: str) -> Any:
    known = _OPTIONS[name]
    if known is not None and text in known:
        return known[text]
    if known is not None or not text:
        wanted = " or ".join(known) if known is not None else "the path of a file"
        raise PolicyError.about("url", f"has a {name} that is none: write {wanted}")
    return text
