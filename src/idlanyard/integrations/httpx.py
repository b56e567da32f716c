"""
httpx and httpx2: ``install(client, to=[...])`` lets a client's requests carry the IDs.

Neither is imported: the hook works on the public face that both have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from idlanyard._binding.carriers import ids_to_send
from idlanyard._binding.state import get_binding
from idlanyard._policy.origins import Origin, Origins, origin_of
from idlanyard.exceptions import IDLanyardError
from idlanyard.integrations.custom import report_failure

__all__ = ["install"]

_MARK: Final = "idlanyard"


class _Client(Protocol):
    """
    What the four clients have in common.
    """

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """
        Lists of functions: ``"request"`` is called before each sending.
        """
        ...


def install(client: _Client, *, to: Iterable[str]) -> Callable[[], None]:
    """
    Let the requests of *client* carry the IDs in force to the origins *to*.

    The IDs are read, and the origin is looked at, whenever a request is sent:
    a redirect or an authentication flow decides anew for each hop. A header
    that the caller wrote wins; it does not follow a redirect to an origin
    that is not on the list. Installing the same origins again does nothing.

    Args:
        client: a ``Client`` or ``AsyncClient`` of httpx or httpx2.
        to: the origins that may have the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``.

    Returns:
        A function that takes this back; calling it again does nothing.

    Raises:
        IDLanyardError: *client* has IDs for other origins already.
        PolicyError: an entry of *to* is no origin.
        TypeError: *client* is something else.
    """
    origins = Origins(to)
    hooks = getattr(client, "event_hooks", None)
    if not isinstance(hooks, dict) or "request" not in hooks:
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise TypeError(
            f"install takes the client of httpx or httpx2, not {kind}: for another client write "
            f"inject(headers, to=[...], url=...) before each request"
        )
    hook = next((one for one in client.event_hooks["request"] if isinstance(one, _Hook)), None)
    if hook is None:
        hook = _AsyncHook(origins) if hasattr(client, "aclose") else _Hook(origins)
        # Behind the caller's own hooks, whose headers win.
        client.event_hooks["request"] = [*client.event_hooks["request"], hook]
    elif hook.origins != origins:
        raise IDLanyardError(
            "this client has IDs for other origins already: install once with all of them, or "
            "call what the first install returned before the second"
        )
    return partial(_take_back, client, hook)


def _take_back(client: _Client, hook: _Hook) -> None:
    hooks = client.event_hooks["request"]
    client.event_hooks["request"] = [one for one in hooks if one is not hook]


class _Hook:
    """
    What is called with every request before it is sent.
    """

    __slots__ = ("origins",)

    def __init__(self, origins: Origins) -> None:
        self.origins = origins

    def __call__(self, request: Any) -> Any:
        try:
            _decide(request, self.origins)
        except Exception as error:
            report_failure("propagation by httpx", error)


class _AsyncHook(_Hook):
    """
    The same for clients that await their hooks.
    """

    __slots__ = ()

    async def __call__(self, request: Any) -> None:
        super().__call__(request)


class _Mark(NamedTuple):
    """
    What a request, and the requests that follow from it, remember in their extensions.

    Attributes:
        origin: where the first of them went.
        written: the headers that we wrote.
    """

    origin: Origin | None
    written: dict[str, str]


def _decide(request: Any, origins: Origins) -> None:
    """
    Give a request the IDs where it may have them, and take back what an earlier hop had.
    """
    mark = request.extensions.get(_MARK)
    if mark is not None:
        _remove_written(request.headers, mark.written)
    origin = origin_of(str(request.url))
    written: dict[str, str] = {}
    if origin in origins:
        written = _add(request.headers)
    elif mark is not None and origin != mark.origin:
        for spec in get_binding().policy.specs.values():
            request.headers.pop(spec.header, None)
    first = origin if mark is None else mark.origin
    # A dictionary of its own: the caller may share one among requests.
    request.extensions = {**request.extensions, _MARK: _Mark(first, written)}


def _remove_written(headers: Any, written: dict[str, str]) -> None:
    for name, value in written.items():
        # What the caller has put in its place since then is the caller's.
        if headers.get(name) == value:
            del headers[name]


def _add(headers: Any) -> dict[str, str]:
    """
    Add the IDs in force that the caller has not written, and return them.
    """
    ids = ids_to_send()
    written = {name: value for name, value in ids.items() if name not in headers}
    for name, value in written.items():
        headers[name] = value
    return written
