"""
The sources of an ID that the server sets, and that no client can write.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from idlanyard._policy.callables import ReaderError, call_reader, find_call_fault
from idlanyard._policy.request import Request
from idlanyard.exceptions import PolicyError

Parse = Callable[[str], "str | None"]
# What a client writes: at the beginning of a path, also in an event of AWS that Mangum passes on;
# and at any place of it, as frameworks call what they have taken out of a request.
_FIRST_OF_CLIENTS: Final = frozenset(
    "client http_version method path query_string raw_path root_path scheme subprotocols type "
    "content_length content_type document_uri path_info path_translated query_string raw_uri "
    "remote_addr remote_host remote_port request_method request_uri script_name script_uri "
    "script_url server_name server_protocol body rawpath rawquerystring resource".split()
)
_OF_CLIENTS: Final = frozenset(
    "_headers client_context clientcontext cookies domainname domainprefix headers kwargs "
    "multivalueheaders multivaluequerystringparameters path path_params pathparameters "
    "query_params query_string querystringparameters url_route user_agent useragent".split()
)
_EVENT: Final = ["aws", "event"]
# The rest of what API Gateway and load balancers say about a request is the client's, as are the
# request ID, which a client may set, and the key that it sends.
_CONTEXT: Final = [*_EVENT, "requestcontext"]
_OF_CONTEXT: Final = frozenset(
    "accountid apiid authentication authorizer connectionid elb extendedrequestid identity "
    "servicearn servicenetworkarn stage targetgrouparn".split()
)
_KEY_OF_CLIENT: Final = "apikey"
# a2wsgi puts the environ there.
_ENVIRON: Final = "wsgi_environ"
# What a server tells of a certificate, also of one that it did not accept.
_CERTIFICATE: Final = "extensions.tls.client_cert_"
_CERTIFICATE_ERROR: Final = "extensions.tls.client_cert_error"
_PREFIXES_OF_CLIENTS: Final = ("HTTP_", "REDIRECT_HTTP_", "REDIRECT_QUERY_STRING")


@dataclass(frozen=True)
class Scope:
    """
    A value in the ASGI ``scope``, which the server or a middleware outside has set.

    What it holds is proven, with the provenance ``CODE``. On WSGI it is
    absent. It is read before the application runs: a middleware that sets it
    has to be outside of this package's. A client certificate
    (``"extensions.tls.client_cert_name"``) is absent if the server says that it
    could not verify it.

    Args:
        path: the keys and attributes that lead to the value, joined by dots:
            ``"user.username"`` is ``scope["user"].username`` or
            ``scope["user"]["username"]``. The value is text, a whole number
            or a UUID.
        parse: a function that takes the text and returns the ID in it, or
            ``None``.

    Raises:
        PolicyError: *path* is none, or leads to what a client writes; the
            message says what to write.
    """

    path: str
    parse: Parse | None = None

    def __post_init__(self) -> None:
        _check(self, "path", self.path, "user.username")

    def read(self, request: Request) -> list[str]:
        """
        Return the value, if there is one.
        """
        scope = getattr(request, "scope", None)
        if self.path.startswith(_CERTIFICATE) and _follow_path(scope, _CERTIFICATE_ERROR):
            return []
        return _read_text(_follow_path(scope, self.path), self.parse)


def _follow_path(found: Any, path: str) -> Any:
    """
    Return the value that a path leads to, or ``None``.
    """
    names = path.split(".")
    while names and found is not None:
        found, names = _take_step(found, names)
    return found


def _take_step(found: Any, names: list[str]) -> tuple[Any, list[str]]:
    """
    Return the next value on a path, and the names that are left.
    """
    if isinstance(found, Mapping):
        held = cast("Mapping[str, Any]", found)
        # Keys have dots as well: Mangum's are "aws.event" and "aws.context".
        for end in range(len(names), 0, -1):
            key = ".".join(names[:end])
            if key in held:
                return held[key], names[end:]
        return None, []
    return getattr(found, names[0], None), names[1:]


@dataclass(frozen=True)
class Environ:
    """
    A variable in the WSGI ``environ`` that the server sets, such as ``REMOTE_USER``.

    What it holds is proven, with the provenance ``CODE``. On ASGI it is
    absent. A client certificate (``SSL_CLIENT_S_DN`` and the like) is absent if
    ``SSL_CLIENT_VERIFY`` is there and not ``SUCCESS``.

    Args:
        key: the key in ``environ``.
        parse: a function that takes the text and returns the ID in it, or
            ``None``.

    Raises:
        PolicyError: *key* is none, or holds what a client writes; the message
            says what to write.
    """

    key: str
    parse: Parse | None = None

    def __post_init__(self) -> None:
        _check(self, "key", self.key, "REMOTE_USER")
        if self.key.upper().startswith(_PREFIXES_OF_CLIENTS):
            name = self.key.upper().rpartition("HTTP_")[2].replace("_", "-").title()
            raise PolicyError(
                f"Environ({self.key!r}) holds what a client writes: write Header({name!r})",
                option="sources",
                value=self.key,
            )

    def read(self, request: Request) -> list[str]:
        """
        Return the value, if there is one.
        """
        environ: Mapping[str, Any] = getattr(request, "environ", None) or {}
        is_verified = environ.get("SSL_CLIENT_VERIFY", "SUCCESS") == "SUCCESS"
        if self.key.startswith("SSL_CLIENT_") and not is_verified:
            return []
        return _read_text(environ.get(self.key), self.parse)


def _is_of_clients(names: list[str]) -> bool:
    """
    Return whether a client writes what a path leads to, given its names in lower case.
    """
    if not _OF_CLIENTS.isdisjoint(names):
        return True
    if names[:3] == _CONTEXT:
        said = names[3:]
        return not said or said[0] not in _OF_CONTEXT or _KEY_OF_CLIENT in said
    first = names[2:] if names[:2] == _EVENT else names
    if names[0] == _ENVIRON:
        first = names[1:]
        if ".".join(first).upper().startswith(_PREFIXES_OF_CLIENTS):
            return True
    return bool(first and first[0] in _FIRST_OF_CLIENTS)


def _check(source: Scope | Environ, option: str, given: object, example: str) -> None:
    """
    Refuse what leads to nothing, or to what a client writes.
    """
    name = type(source).__name__
    if not isinstance(given, str) or not all(given.split(".")):
        raise PolicyError(
            f"{name}({given!r}) is no {option}: write {name}({example!r})",
            option="sources",
            value=given,
        )
    if _is_of_clients(given.lower().split(".")):
        raise PolicyError(
            f"{name}({given!r}) holds what a client writes: write {name}({example!r}), or read it "
            f"by Header, Query, Subdomain or PathPrefix",
            option="sources",
            value=given,
        )
    fault = None if source.parse is None else find_call_fault(source.parse, "the text")
    if fault is not None:
        raise PolicyError(f"{name}(parse=...) {fault}", option="parse", value=source.parse)


def _read_text(found: object, parse: Parse | None) -> list[str]:
    """
    Return the ID in a value as a list of one, or nothing.

    Raises:
        ReaderError: it is another value than text, a number or a UUID.
        Exception: the function failed.
    """
    if inspect.iscoroutine(found):
        # An async property: nobody would await it.
        found.close()
    if found is None or found == "":
        return []
    if isinstance(found, bool) or not (isinstance(found, str | int) or _is_uuid(found)):
        raise ReaderError(f"the value is {type(found).__name__}: set text, a number or a UUID")
    text = str(found) if parse is None else call_reader(parse, str(found))
    return [text] if text else []


def _is_uuid(found: object) -> bool:
    from uuid import UUID

    return isinstance(found, UUID)
