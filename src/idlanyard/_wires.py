"""
How the two protocols name and spell headers, and where they keep the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from idlanyard._peers import UNIX, normalise
from idlanyard._policy import Policy
from idlanyard._request import Headers, Request
from idlanyard._sources import Header

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Wire(NamedTuple):
    """
    How a protocol names and spells headers.

    Attributes:
        text: the type of header values, ``bytes`` or ``str``.
        key: the key under which a header arrives.
        aliases: the keys under which its other spellings arrive (S3).
        echo: the name of a header on a response.
        view: makes the read-only view of a request.
        peer: the transport-level address, ``"unix"`` or ``None``.
        conflates: whether the server lets the last of several spellings win;
            ``None`` where they arrive apart.
    """

    text: type[bytes | str]
    key: Callable[[str], Any]
    aliases: Callable[[Header], list[Any]]
    echo: Callable[[str], Any]
    view: Callable[[Any, Policy], Request]
    peer: Callable[[Any, Policy], str | None]
    conflates: Callable[[Any], bool] | None


class ASGIRequest(Request):
    """
    The view of an ASGI ``scope``.

    Attributes:
        scope: the scope itself, not to be changed.
    """

    __slots__ = ("_policy", "scope")

    def __init__(self, scope: Any, policy: Policy) -> None:
        self.scope = scope
        self._policy = policy

    @property
    def headers(self) -> Headers:
        """
        The header lines as they came in, before sanitising.
        """
        lines = self.scope.get("headers") or ()
        return Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in lines)

    @property
    def path(self) -> str:
        """
        ``scope["path"]``.
        """
        return str(self.scope.get("path", ""))

    @property
    def query(self) -> str:
        """
        The query string, still percent-encoded.
        """
        query: bytes = self.scope.get("query_string") or b""
        return query.decode("latin-1")

    @property
    def peer(self) -> str | None:
        """
        The client's address, ``"unix"`` with evidence for it, or ``None``.
        """
        return _asgi_peer(self.scope, self._policy)


def _asgi_peer(scope: Any, policy: Policy) -> str | None:
    """
    Return the client's address, ``"unix"`` with evidence for it, or ``None`` (S20).
    """
    client = _address(scope, "client")
    if client and client[0]:
        return str(client[0])
    server = _address(scope, "server")
    path = str(server[0]) if server else ""
    return UNIX if path.startswith("/") or policy.assume_unix else None


def _address(scope: Any, name: str) -> Any:
    """
    Return ``client`` or ``server``, which may be any iterable, also one that is read once.
    """
    address: Any = scope.get(name)
    if address is not None and not isinstance(address, tuple | list):
        scope[name] = tuple(address)
    return scope.get(name)


def _asgi_key(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")


def _asgi_aliases(header: Header) -> list[bytes]:
    return [_asgi_key(spelling) for spelling in header.spellings()[1:]]


ASGI: Final = Wire(
    text=bytes,
    key=_asgi_key,
    aliases=_asgi_aliases,
    echo=_asgi_key,
    view=ASGIRequest,
    peer=_asgi_peer,
    conflates=None,
)


class WSGIRequest(Request):
    """
    The view of a WSGI ``environ``.

    Attributes:
        environ: the environ itself, not to be changed.
    """

    __slots__ = ("_policy", "environ")

    def __init__(self, environ: WSGIEnvironment, policy: Policy) -> None:
        self.environ = environ
        self._policy = policy

    @property
    def headers(self) -> Headers:
        """
        The header lines as the server merged them, before sanitising.
        """
        return Headers(
            (key.removeprefix("HTTP_").replace("_", "-"), value)
            for key, value in self.environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        )

    @property
    def path(self) -> str:
        """
        ``PATH_INFO``.
        """
        return str(self.environ.get("PATH_INFO", ""))

    @property
    def query(self) -> str:
        """
        The query string, still percent-encoded.
        """
        return str(self.environ.get("QUERY_STRING", ""))

    @property
    def peer(self) -> str | None:
        """
        The client's address as the server had it, ``"unix"`` or ``None``.
        """
        return _wsgi_peer(self.environ, self._policy)


def _wsgi_peer(environ: WSGIEnvironment, policy: Policy) -> str | None:
    """
    Return the client's address as the server had it, ``"unix"`` or ``None`` (S19, S20).
    """
    original = environ.get("werkzeug.proxy_fix.orig") or environ
    host: str | None = original.get("REMOTE_ADDR")
    if host == "":
        return UNIX
    if policy.assume_unix and (host is None or normalise(host) is None):
        return UNIX
    return host


def _wsgi_conflates(environ: WSGIEnvironment) -> bool:
    """
    Say whether the last of several spellings of a header wins on this server (S3).
    """
    server = str(environ.get("SERVER_SOFTWARE", ""))
    return server.startswith("Cheroot") or server == "Granian"


def _wsgi_key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _no_aliases(_: Header) -> list[str]:
    # The server has merged them into one key already.
    return []


def _wsgi_echo(name: str) -> str:
    return name


WSGI: Final = Wire(
    text=str,
    key=_wsgi_key,
    aliases=_no_aliases,
    echo=_wsgi_echo,
    view=WSGIRequest,
    peer=_wsgi_peer,
    conflates=_wsgi_conflates,
)
