"""
httpx and httpx2: ``install(client, to=[...])`` sends the current IDs.

Neither package is imported: the hook uses the public attributes that both have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from idlanyard._binding.outgoing import (
    IDSigner,
    add_ids_for_hop,
    check_signer,
    managed_headers,
)
from idlanyard._policy.origins import Origin, Origins, origin_of
from idlanyard.exceptions import IDLanyardError
from idlanyard.integrations.custom import report_failure

__all__ = ["install"]

_MARK: Final = "idlanyard"


class _Client(Protocol):
    """
    The attribute that the four clients have in common.
    """

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """
        Lists of functions; those under ``"request"`` are called before each sending.
        """
        ...


def install(
    client: _Client, *, to: Iterable[str], sign: IDSigner | None = None
) -> Callable[[], None]:
    """
    Add the current IDs to the requests that *client* sends to the origins *to*.

    The IDs and the origin are read whenever a request is sent, so that each
    hop of a redirect or an authentication flow is decided by itself. A header
    that the caller wrote wins; it does not follow a redirect to an origin
    that is not on the list. Installing the same origins again does nothing.

    Args:
        client: a ``Client`` or ``AsyncClient`` of httpx or httpx2.
        to: the origins that may have the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``.
        sign: a ``Signer`` of ``idlanyard.signing``, which vouches for the IDs
            that are proven, in headers of their own.

    Returns:
        A function that undoes this; calling it again does nothing.

    Raises:
        IDLanyardError: *client* has IDs for other origins, or another signer,
            already.
        PolicyError: an entry of *to* is no origin.
        TypeError: *client* or *sign* is something else.
    """
    origins = Origins(to)
    check_signer(sign)
    hooks = getattr(client, "event_hooks", None)
    if not isinstance(hooks, dict) or "request" not in hooks:
        kind = f"{type(client).__module__}.{type(client).__qualname__}"
        raise TypeError(
            f"install takes the client of httpx or httpx2, not {kind}: for another client write "
            f"inject(headers, to=[...], url=...) before each request"
        )
    hook = next((one for one in client.event_hooks["request"] if isinstance(one, _Hook)), None)
    if hook is None:
        make = _AsyncHook if hasattr(client, "aclose") else _Hook
        hook = make(origins, sign)
        # Last, since headers that the caller's own hooks write win.
        client.event_hooks["request"] = [*client.event_hooks["request"], hook]
    elif hook.origins != origins:
        raise IDLanyardError(
            "this client has IDs for other origins already: install once with all of them, or "
            "call what the first install returned before the second"
        )
    elif hook.sign != sign:
        raise IDLanyardError(
            "this client has another signer already: call what the first install returned before "
            "the second"
        )
    return partial(_remove_hook, client, hook)


def _remove_hook(client: _Client, hook: _Hook) -> None:
    hooks = client.event_hooks["request"]
    client.event_hooks["request"] = [one for one in hooks if one is not hook]


class _Hook:
    """
    The function that a client calls with every request before it is sent.
    """

    __slots__ = ("origins", "sign")

    def __init__(self, origins: Origins, sign: IDSigner | None) -> None:
        self.origins = origins
        self.sign = sign

    def __call__(self, request: Any) -> Any:
        try:
            _add_ids(request, self.origins, self.sign)
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
    An entry in the extensions of a request, which httpx copies to the requests that follow it.

    Attributes:
        origin: the origin of the first of these requests.
        added: the headers that we added to the last one.
    """

    origin: Origin | None
    added: dict[str, str]


def _add_ids(request: Any, origins: Origins, sign: IDSigner | None) -> None:
    """
    Add the IDs if the request may have them, and remove those of its earlier hops.
    """
    mark = request.extensions.get(_MARK)
    url = str(request.url)
    origin = origin_of(url)
    earlier = None if mark is None else mark.added
    first = origin if mark is None else mark.origin
    added: dict[str, str] = {}
    try:
        added = add_ids_for_hop(request.headers, url, origins, sign=sign, earlier=earlier)
    finally:
        # Also if a signer fails: without a mark, the caller's headers would follow a redirect.
        # A new dictionary, since the caller may share the old one among requests.
        request.extensions = {**request.extensions, _MARK: _Mark(first, added)}
    if mark is not None and origin != first and origin not in origins:
        # The caller wrote these headers for the first origin.
        for name in managed_headers(sign):
            request.headers.pop(name, None)
