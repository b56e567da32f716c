"""
What the HTTP API is asked, and what it asks in turn. Pure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from idlanyard._policy.peers import Everyone
from idlanyard.exceptions import PolicyError
from idlanyard.ids import Provenance
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._http._grant import Grant
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._registry import SessionRegistry

T = TypeVar("T")
Action: TypeAlias = Literal["create", "read", "update", "end", "input"]

READS_BODY: Final[frozenset[Action]] = frozenset({"create", "update", "input"})
"""
Actions whose requests have a body that is read.
"""

_PREFIX: Final = "/session/"
_INPUT: Final = "/input"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """
    What ``authorize`` decides about.

    Attributes:
        action: what is asked for: ``"create"``, ``"read"``, ``"update"``,
            ``"end"`` or ``"input"``.
        session_id: of which session; ``None`` where an ID is to be minted.
        record: the session, where it is known; ``None`` for ``"create"``.
        body: the JSON object that was sent, empty for ``"read"`` and
            ``"end"``; not to be changed.
        headers: the request's headers, names in lower case; more lines of
            one name are joined by a comma.
        framework_request: the framework's own request: Starlette's or Flask's
            ``Request``, Django's ``HttpRequest``, the ``environ`` of a plain
            WSGI application; for who is logged in.
    """

    action: Action
    session_id: str | None
    record: SessionRecord | None
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    framework_request: Any = field(default=None, repr=False, compare=False)


Authorize: TypeAlias = Callable[[SessionRequest], bool | Grant | Awaitable[bool | Grant]]
OnInput: TypeAlias = Callable[[SessionRecord, dict[str, Any]], Any]


class Question(NamedTuple):
    """
    What a face is to ask on the handler's behalf.

    Attributes:
        call: a plain function or an async one.
        arguments: what it is called with.
        session_id: the session to bind meanwhile, if any.
        provenance: how that is known: by ``authorize``, or by the path alone.
        is_verb: whether it is a verb of the registry, and no function of the application's.
    """

    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    session_id: str | None = None
    provenance: Provenance = Provenance.CODE
    is_verb: bool = False


Asking: TypeAlias = Generator[Question, Any, T]


def routes_at(path: str, *, takes_input: bool) -> dict[str, tuple[Action, str | None]]:
    """
    Return what each method asks for, and of which session; where there is nothing, no route is.

    Everything behind ``/session/`` is an ID where it is read, updated or
    ended, whatever it looks like.

    Args:
        path: decoded, and relative to where the API is mounted.
        takes_input: whether there is a route for input.
    """
    session_id = path.removeprefix(_PREFIX)
    if not path.startswith(_PREFIX) or not session_id or "\n" in path:
        return {}
    found: dict[str, tuple[Action, str | None]] = {}
    found["GET"], found["DELETE"] = ("read", session_id), ("end", session_id)
    found["PATCH"] = "update", session_id
    if session_id == "create":
        found["POST"] = "create", None
    elif takes_input and session_id.endswith(_INPUT) and session_id != _INPUT:
        found["POST"] = "input", session_id.removesuffix(_INPUT)
    return found


def check_options(registry: object, on_input: object, authorize: object, max_body: object) -> None:
    """
    Refuse options that no face can follow.

    Raises:
        TypeError: ``authorize`` is missing, or one of them is something else.
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
