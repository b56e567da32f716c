"""
ASGI and WSGI: how each spells headers, and where a request has its peer and path.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Container
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from idlanyard._policy.checked_policy import CheckedPolicy
from idlanyard._policy.peers import UNIX
from idlanyard._policy.request import Headers, Request
from idlanyard._policy.sources import Header

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Pair: TypeAlias = tuple[Any, Any]
"""
The name and value of a header, as the protocol spells them.
"""

ASGI_KEY: Final = "idlanyard"
# With a dot, since the value of any other key has to be text. No ID has this name.
WSGI_KEY: Final = "idlanyard._scope"
_DROP_ALIASES: Final = ("Apache", "Werkzeug/", "gevent/", "gunicorn/", "mod_wsgi/", "waitress")
# gunicorn sets this key if the connection began with a PROXY line.
_PROXY_PROTOCOL: Final = "PROXY_PROTOCOL"
_KEEP_ALIASES: Final = frozenset({"tornado.wsgi", "twisted.web.wsgi"})


class Dialect(NamedTuple):
    """
    The spelling of headers in one protocol, and how it describes a request.

    Attributes:
        text: the type of header values, ``bytes`` or ``str``.
        decode: turns a header value into text.
        encode: turns text into a header value; a character that is not ASCII becomes
            an escape, which no ID may contain.
        key: returns the key under which a header arrives.
        aliases: returns the keys under which its other spellings arrive.
        echo: returns the name of a header on a response.
        view: makes the read-only view of a request.
        peer: returns the transport-level address, ``"unix"`` or ``None``.
        conflates: returns whether the server may take one spelling of a header for
            another.
        relayed: returns whether the server took the peer from the PROXY protocol.
        find_lines: returns the header lines of a request, at least those of some keys.
        find_method: returns the method of a request, ``GET`` for a WebSocket's handshake.
    """

    text: type[bytes | str]
    decode: Callable[[Any], str]
    encode: Callable[[str], Any]
    key: Callable[[str], Any]
    aliases: Callable[[Header], list[Any]]
    echo: Callable[[str], Any]
    view: Callable[[Any, CheckedPolicy], Request]
    peer: Callable[[Any, CheckedPolicy], str | None]
    conflates: Callable[[Any], bool]
    relayed: Callable[[Any], bool]
    find_lines: Callable[[Any, Collection[Any]], list[Pair]]
    find_method: Callable[[Any], str]


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
        The headers as they arrived, before any was removed.
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
        return _find_asgi_peer(self.scope, self._policy)


def _find_asgi_peer(scope: Any, policy: CheckedPolicy) -> str | None:
    """
    Return the client's address, ``"unix"`` with evidence for it, or ``None``.
    """
    client = scope.get("client")
    if client.__class__ is not tuple:
        client = _read_address(scope, "client")
    if client and client[0]:
        host = client[0] if client[0].__class__ is str else str(client[0])
        # The word stands for a unix socket here.
        return None if host == UNIX else host
    server = _read_address(scope, "server")
    path = str(server[0]) if server else ""
    return UNIX if path.startswith("/") or policy.assume_unix else None


def _read_address(scope: Any, name: str) -> Any:
    """
    Return ``client`` or ``server``; an iterable of another type is replaced by a tuple.
    """
    address: Any = scope.get(name)
    if address is not None and not isinstance(address, tuple | list):
        # Falcon 4.4's test client passes iterators, which the application has to read again.
        scope[name] = tuple(address)
    return scope.get(name)


def _asgi_conflates(scope: Any) -> bool:
    """
    Return whether the request came through a WSGI server that may conflate spellings.
    """
    # a2wsgi 1.10 puts the environ that it has made the scope of there.
    environ = scope.get("wsgi_environ")
    return environ is not None and _wsgi_conflates(environ)


def _asgi_relayed(scope: Any) -> bool:
    """
    Return whether the request came through a WSGI server that uses the PROXY protocol.
    """
    return _PROXY_PROTOCOL in (scope.get("wsgi_environ") or ())


def _find_asgi_lines(scope: Any, keys: Collection[bytes]) -> list[Pair]:  # noqa: ARG001
    lines: list[Pair] = scope.get("headers") or []
    return lines


def _find_asgi_method(scope: Any) -> str:
    return str(scope.get("method", "GET"))


def _decode_latin1(value: bytes) -> str:
    return value.decode("latin-1")


def _encode_ascii(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")


def _to_asgi_key(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")


def _to_asgi_aliases(header: Header) -> list[bytes]:
    return [_to_asgi_key(spelling) for spelling in header.spellings()[1:]]


ASGI: Final = Dialect(
    text=bytes,
    decode=_decode_latin1,
    encode=_encode_ascii,
    key=_to_asgi_key,
    aliases=_to_asgi_aliases,
    echo=_to_asgi_key,
    view=ASGIRequest,
    peer=_find_asgi_peer,
    conflates=_asgi_conflates,
    relayed=_asgi_relayed,
    find_lines=_find_asgi_lines,
    find_method=_find_asgi_method,
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
        The headers as the server merged them, before any was removed.
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
        # In WSGI each character is one byte (PEP 3333); ASGI has decoded the path.
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
        return _find_wsgi_peer(self.environ, self._policy)


def _find_wsgi_peer(environ: WSGIEnvironment, policy: CheckedPolicy) -> str | None:
    """
    Return the client's address as the server had it, ``"unix"`` or ``None``.
    """
    original = environ.get("werkzeug.proxy_fix.orig") or environ
    host: str | None = original.get("REMOTE_ADDR")
    if host == "":
        return UNIX
    # waitress 3.0 sets "localhost" for every peer on a unix socket.
    if policy.assume_unix and host in (None, "localhost"):
        return UNIX
    return None if host == UNIX else host


def _wsgi_conflates(environ: WSGIEnvironment) -> bool:
    """
    Return whether this server may take ``X_User_ID`` for ``X-User-ID``.

    Both have the same key in ``environ``. Servers that are known to drop the alias
    are listed; any other is assumed to keep it, alone or in place of the header.
    """
    server = str(environ.get("SERVER_SOFTWARE", ""))
    if server:
        return not (server.startswith(_DROP_ALIASES) or _is_django_server(server, environ))
    # Test clients set no name; uWSGI, Tornado, Twisted and adapters for ASGI set none either.
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
    Return whether the server took the peer from the PROXY protocol.
    """
    return _PROXY_PROTOCOL in environ


def _find_wsgi_lines(environ: WSGIEnvironment, keys: Collection[str]) -> list[Pair]:
    return [(key, environ[key]) for key in keys if key in environ]


def _find_wsgi_method(environ: WSGIEnvironment) -> str:
    return str(environ.get("REQUEST_METHOD", "GET"))


def _keep_text(text: str) -> str:
    return text


def _to_wsgi_key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _to_wsgi_aliases(_: Header) -> list[str]:
    # The server has merged all spellings into one key already.
    return []


WSGI: Final = Dialect(
    text=str,
    decode=_keep_text,
    encode=_keep_text,
    key=_to_wsgi_key,
    aliases=_to_wsgi_aliases,
    echo=_keep_text,
    view=WSGIRequest,
    peer=_find_wsgi_peer,
    conflates=_wsgi_conflates,
    relayed=_wsgi_relayed,
    find_lines=_find_wsgi_lines,
    find_method=_find_wsgi_method,
)

_CALLS: Final = {"ASGI": ("scope", "receive", "send"), "WSGI": ("environ", "start_response")}
_OTHER: Final = {"ASGI": "WSGI", "WSGI": "ASGI"}
_DJANGO_LINE: Final = '"idlanyard.integrations.django.SessionContextMiddleware" in MIDDLEWARE'


def check_application(app: Any, protocol: str) -> None:
    """
    Raise an error that says what to write if *app* is no application of *protocol*.

    The application is not called. Callables that take anything are accepted, as are
    those whose signature cannot be read.

    Args:
        app: the object that the middleware wraps.
        protocol: ``"ASGI"`` or ``"WSGI"``.

    Raises:
        TypeError: *app* cannot be called as *protocol* calls applications.
    """
    called = f"an {protocol} application" if protocol == "ASGI" else f"a {protocol} application"
    if not callable(app):
        raise TypeError(f"app is {called}, not {type(app).__name__}")
    if _is_django_middleware(app):
        raise TypeError(f"app is {called}; in Django's settings write {_DJANGO_LINE}")
    if _accepts(app, _CALLS[protocol]):
        return
    other = _OTHER[protocol]
    if _accepts(app, _CALLS[other]):
        module = f"idlanyard.{other.lower()}"
        raise TypeError(
            f"app is {called}, and this one takes {', '.join(_CALLS[other])}: write "
            f"from {module} import SessionContextMiddleware"
        )
    raise TypeError(f"app is {called}, which takes {', '.join(_CALLS[protocol])}")


def _is_django_middleware(app: Any) -> bool:
    """
    Return whether *app* is what Django passes to the middleware on each line of ``MIDDLEWARE``.
    """
    # asgiref's adapters between sync and async middleware take any arguments.
    if type(app).__module__ == "asgiref.sync":
        return True
    signature = _read_signature(app)
    return signature is not None and [*signature.parameters] == ["request"]


def _accepts(app: Any, arguments: tuple[str, ...]) -> bool:
    """
    Return whether *app* can be called with these arguments, as far as its signature is known.
    """
    signature = _read_signature(app)
    if signature is None:
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _read_signature(app: Any) -> inspect.Signature | None:
    try:
        # The signature of the wrapper is the one that is called.
        return inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
