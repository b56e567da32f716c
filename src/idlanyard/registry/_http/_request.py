"""
A request as ``authorize`` sees it, its possible answers, and the calls that the handler asks for.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from idlanyard._policy.peers import Everyone
from idlanyard.exceptions import PolicyError
from idlanyard.ids import Provenance
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._checks import convert_ttl, encode_metadata, make_key
from idlanyard.registry._http._routes import Action
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._registry import SessionRegistry

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """
    A request that ``authorize`` decides about.

    Attributes:
        action: the action that the request asks for: ``"create"``,
            ``"read"``, ``"update"``, ``"end"`` or ``"input"``.
        session_id: the session ID; ``None`` for a create that mints one.
        record: the session, if there is one; ``None`` for ``"create"``.
        body: the JSON object that was sent, empty for ``"read"`` and
            ``"end"``; read only.
        headers: the request's headers, names in lower case; several lines
            of one name are joined by a comma.
        framework_request: the framework's own request: Starlette's or
            Flask's ``Request``, Django's ``HttpRequest``, or the ``environ``
            of a plain WSGI application. Find the logged-in user in it.
    """

    action: Action
    session_id: str | None
    record: SessionRecord | None
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    framework_request: Any = field(default=None, repr=False, compare=False)


class _LeftOut(Enum):
    """
    The type of a value that a grant leaves to the body.
    """

    LEFT_OUT = "left out"

    def __repr__(self) -> str:
        return "LEFT_OUT"


_LEFT_OUT: Final = _LeftOut.LEFT_OUT
LeftOut: TypeAlias = Literal[_LeftOut.LEFT_OUT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """
    Permission to create a session, with values that the server sets.

    A value given here replaces the one in the body; a value left out keeps
    the body's. ``None`` is a value, too: the session then has none, whatever
    the body asks for. So a missing user never lets the body name one.

    Args:
        client_id: the client that the session belongs to; ``None`` and
            ``""`` are no client.
        ttl: the seconds without a touch after which the session expires;
            ``None`` is the registry's own time.
        metadata: a JSON object; ``None`` is an empty one.

    Raises:
        ValueError: the registry would refuse one of the values.
        TypeError: one of the values has a wrong type.
    """

    client_id: str | LeftOut | None = _LEFT_OUT
    ttl: float | LeftOut | None = _LEFT_OUT
    metadata: Mapping[str, Any] | LeftOut | None = field(default=_LEFT_OUT, repr=False, hash=False)

    def __post_init__(self) -> None:
        if self.client_id is not _LEFT_OUT and self.client_id not in (None, ""):
            make_key("client_id", self.client_id)
        if self.ttl is not _LEFT_OUT and self.ttl is not None:
            convert_ttl(self.ttl)
        if self.metadata is not _LEFT_OUT:
            # A copy: the caller may change its own later.
            object.__setattr__(self, "metadata", json.loads(encode_metadata(self.metadata)))

    def over(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return the values that the session is created with.

        Args:
            asked: the body's ``client_id``, ``ttl`` and ``metadata``.
        """
        given = {"client_id": self.client_id, "ttl": self.ttl, "metadata": self.metadata}
        return dict(asked) | {
            name: value for name, value in given.items() if value is not _LEFT_OUT
        }


Authorize: TypeAlias = Callable[[SessionRequest], bool | Grant | Awaitable[bool | Grant]]
"""
The type of ``authorize``: returns whether a request may do as it asks, or a ``Grant``.
"""
OnInput: TypeAlias = Callable[[SessionRecord, dict[str, Any]], Any]
"""
The type of ``on_input``: takes the session and the body of an input, and returns the answer.
"""


class Call(NamedTuple):
    """
    A call that the handler asks its face to make.

    Attributes:
        function: a plain function or an async one.
        arguments: the arguments of the call.
        session_id: the session to bind during the call, if any.
        provenance: the provenance of that session ID: ``CODE`` if
            ``authorize`` allowed it, ``CLIENT`` if the path alone names it.
        is_verb: whether the function is a verb of the registry, rather than
            one of the application's.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    session_id: str | None = None
    provenance: Provenance = Provenance.CODE
    is_verb: bool = False


Handling: TypeAlias = Generator[Call, Any, T]
"""
The handling of a request: it yields calls, is sent their results, and returns a *T*.
"""


def check_options(registry: object, on_input: object, authorize: object, max_body: object) -> None:
    """
    Check the options that all faces have.

    Raises:
        TypeError: ``authorize`` is missing, or an option has a wrong type.
        PolicyError: ``max_body`` is no number of bytes.
    """
    if not isinstance(registry, SessionRegistry | AsyncSessionRegistry):
        raise TypeError(
            f"registry is a SessionRegistry or an AsyncSessionRegistry, not "
            f"{type(registry).__name__}: write SessionRegistry.open(...)"
        )
    if on_input is not None and not callable(on_input):
        raise TypeError("on_input is a function of the record and the body, or None")
    if not isinstance(authorize, Everyone) and not callable(authorize):
        raise TypeError(
            "authorize is missing: write a function of the request that returns True for callers "
            "who may, or authorize=idlanyard.EVERYONE where nobody is to be checked"
        )
    if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 1:
        raise PolicyError.about("max_body", "is a number of bytes: write 65_536", max_body)
