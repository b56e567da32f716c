"""
How the two protocols name and spell headers, and where they keep the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from idlanyard._policy.checked import CheckedPolicy
from idlanyard._policy.peers import UNIX
from idlanyard._policy.request import Headers, Request
from idlanyard._policy.sources import Header

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


import inspect

ASGI_KEY: Final = "idlanyard"
# With a dot, since any other key has to be text; and no ID is called so.
WSGI_KEY: Final = "idlanyard._scope"
_DROP_ALIASES: Final = ("Apache", "Werkzeug/", "gevent/", "gunicorn/", "mod_wsgi/", "waitress")
_KEEP_ALIASES: Final = frozenset({"tornado.wsgi", "twisted.web.wsgi"})


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
        conflates: whether the server may let one spelling of a header stand
            for another.
        relayed: whether the server says that it took the peer from the PROXY
            protocol.
    """

    text: type[bytes | str]
    key: Callable[[str], Any]
    aliases: Callable[[Header], list[Any]]
    echo: Callable[[str], Any]
    view: Callable[[Any, CheckedPolicy], Request]
    peer: Callable[[Any, CheckedPolicy], str | None]
    conflates: Callable[[Any], bool]
    relayed: Callable[[Any], bool]


class ASGIRequest(Request):
    """
    The view of an ASGI ``scope``.

    Attributes:
        scope: the scope itself, not to be changed.
    """

    __slots__ = ("_headers", "_policy", "scope")

    def __init__(self, scope: Any, policy: CheckedPolicy) -> None:
        self.scope = scope
        self._policy = policy
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """
        The header lines as they came in, before sanitising.
        """
        if self._headers is None:
            lines = self.scope.get("headers") or ()
            self._headers = Headers(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in lines
            )
        return self._headers

    @property
    def path(self) -> str:
        """
        ``scope["path"]`` below ``scope["root_path"]``.
        """
        path = str(self.scope.get("path", ""))
        root = str(self.scope.get("root_path") or "").rstrip("/")
        # Not every server puts the prefix into the path: hypercorn 0.18 does not.
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :]
        return path or "/"

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


def _asgi_peer(scope: Any, policy: CheckedPolicy) -> str | None:
    """
    Return the client's address, ``"unix"`` with evidence for it, or ``None`` (S20).
    """
    client = _address(scope, "client")
    if client and client[0]:
        return _as_peer(str(client[0]))
    server = _address(scope, "server")
    path = str(server[0]) if server else ""
    return UNIX if path.startswith("/") or policy.assume_unix else None


def _as_peer(host: str) -> str | None:
    """
    Return what the server calls the peer, unless that is our own word for a unix socket.
    """
    return None if host == UNIX else host


def _address(scope: Any, name: str) -> Any:
    """
    Return ``client`` or ``server``, which may be any iterable, also one that is read once.
    """
    address: Any = scope.get(name)
    if address is not None and not isinstance(address, tuple | list):
        scope[name] = tuple(address)
    return scope.get(name)


def _asgi_conflates(scope: Any) -> bool:
    """
    Return whether a WSGI server that may do so is behind this request.
    """
    # So does a2wsgi 1.10 call the environ out of which it has made the scope.
    environ = scope.get("wsgi_environ")
    return environ is not None and _wsgi_conflates(environ)


def _asgi_relayed(scope: Any) -> bool:
    """
    Return whether a WSGI server that says so is behind this request.
    """
    return _wsgi_relayed(scope.get("wsgi_environ") or ())


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
    conflates=_asgi_conflates,
    relayed=_asgi_relayed,
)


class WSGIRequest(Request):
    """
    The view of a WSGI ``environ``.

    Attributes:
        environ: the environ itself, not to be changed.
    """

    __slots__ = ("_policy", "environ")

    def __init__(self, environ: WSGIEnvironment, policy: CheckedPolicy) -> None:
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
        ``PATH_INFO``, which is the path below ``SCRIPT_NAME``, as text.
        """
        path = str(self.environ.get("PATH_INFO", "")) or "/"
        if path.isascii():
            return path
        # WSGI has each byte as a character (PEP 3333), ASGI the text that they mean.
        return path.encode("latin-1", "replace").decode("utf-8", "replace")

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


def _wsgi_peer(environ: WSGIEnvironment, policy: CheckedPolicy) -> str | None:
    """
    Return the client's address as the server had it, ``"unix"`` or ``None`` (S19, S20).
    """
    original = environ.get("werkzeug.proxy_fix.orig") or environ
    host: str | None = original.get("REMOTE_ADDR")
    if host == "":
        return UNIX
    # waitress 3.0 calls every peer on a unix socket so.
    if policy.assume_unix and host in (None, "localhost"):
        return UNIX
    return None if host is None else _as_peer(host)


def _wsgi_conflates(environ: WSGIEnvironment) -> bool:
    """
    Return whether this server may take ``X_User_ID`` for ``X-User-ID``.

    Both have one key in ``environ``. Servers that are known to drop the alias
    are listed; any other is taken to keep it, alone or in place of the header.
    """
    server = str(environ.get("SERVER_SOFTWARE", ""))
    if server:
        return not (server.startswith(_DROP_ALIASES) or _is_django_server(server, environ))
    # Test clients name no server; nor do uWSGI, Tornado, Twisted and adapters for ASGI.
    return (
        "uwsgi.version" in environ
        or "asgi.scope" in environ
        or not sys.modules.keys().isdisjoint(_KEEP_ALIASES)
        or bool(environ.get("wsgi.multithread") and environ.get("wsgi.multiprocess"))
    )


def _is_django_server(server: str, environ: WSGIEnvironment) -> bool:
    """
    Return whether the server is Django's ``runserver``, which has wsgiref's name.
    """
    body: object = environ.get("wsgi.input")
    return server.startswith("WSGIServer/") and type(body).__module__.startswith("django.")


def _wsgi_relayed(environ: Container[str]) -> bool:
    """
    Return whether the server took the peer from the PROXY protocol, as gunicorn says.
    """
    return "PROXY_PROTOCOL" in environ


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
    relayed=_wsgi_relayed,
)

_CALLS: Final = {"ASGI": ("scope", "receive", "send"), "WSGI": ("environ", "start_response")}
_OTHER: Final = {"ASGI": "WSGI", "WSGI": "ASGI"}
_DJANGO_LINE: Final = '"idlanyard.integrations.django.SessionContextMiddleware" in MIDDLEWARE'


def check_application(app: Any, protocol: str) -> None:
    """
    Refuse what is no application of *protocol*, saying which middleware to write.

    Called is nothing. Callables that do not show what they take are let
    through, as are those that take anything.

    Args:
        app: what the middleware was put around.
        protocol: ``"ASGI"`` or ``"WSGI"``.

    Raises:
        TypeError: *app* cannot be called as *protocol* calls applications.
    """
    called = f"an {protocol} application" if protocol == "ASGI" else f"a {protocol} application"
    if not callable(app):
        raise TypeError(f"app is {called}, not {type(app).__name__}")
    if _is_of_django(app):
        raise TypeError(f"app is {called}; in Django's settings write {_DJANGO_LINE}")
    if _takes(app, _CALLS[protocol]):
        return
    other = _OTHER[protocol]
    if _takes(app, _CALLS[other]):
        module = f"idlanyard.{other.lower()}"
        raise TypeError(
            f"app is {called}, and this one takes {', '.join(_CALLS[other])}: write "
            f"from {module} import SessionContextMiddleware"
        )
    raise TypeError(f"app is {called}, which takes {', '.join(_CALLS[protocol])}")


def _is_of_django(app: Any) -> bool:
    """
    Return whether *app* is the rest of ``MIDDLEWARE``, as Django hands it to each line.
    """
    # Those that turn one kind of middleware into the other take anything.
    if type(app).__module__ == "asgiref.sync":
        return True
    signature = _signature_of(app)
    return signature is not None and [*signature.parameters] == ["request"]


def _takes(app: Any, arguments: tuple[str, ...]) -> bool:
    """
    Return whether *app* can be called with so many arguments, or does not say.
    """
    signature = _signature_of(app)
    if signature is None:
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _signature_of(app: Any) -> inspect.Signature | None:
    try:
        # By itself, and not by what it was made to look like.
        return inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
