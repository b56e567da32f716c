"""
aiohttp: ``ClientSession(middlewares=[propagate(to=[...])])`` sends the current IDs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from idlanyard._binding.outgoing import IDSigner, add_ids_for_hop, check_signer
from idlanyard._policy.origins import Origins
from idlanyard.integrations.custom import report_failure

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

__all__ = ["propagate"]


def propagate(*, to: Iterable[str], sign: IDSigner | None = None) -> ClientMiddlewareType:
    """
    Return a client middleware that adds the current IDs to requests for the origins *to*.

    The IDs and the origin are read whenever a request is sent, so that each
    hop of a redirect is decided by itself. A header that the caller wrote
    wins.

    Args:
        to: the origins that may have the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``.
        sign: a ``Signer`` of ``idlanyard.signing``, which vouches for the IDs
            that are proven, in headers of their own.

    Returns:
        A middleware for the ``middlewares`` of ``ClientSession`` or of one
        request.

    Raises:
        PolicyError: an entry of *to* is no origin.
        TypeError: *sign* is no signer.
    """
    origins = Origins(to)
    check_signer(sign)

    async def propagating(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        try:
            _add_ids(request, origins, sign)
        except Exception as error:
            report_failure("propagation by aiohttp", error)
        return await handler(request)

    return propagating


class _AddedValue(str):
    """
    A header's value that we added, marked with the allow-list of its middleware.

    Attributes:
        origins: the allow-list; with several middlewares each removes its own.
    """

    __slots__ = ("origins",)

    origins: Origins


def _add_ids(request: ClientRequest, origins: Origins, sign: IDSigner | None) -> None:
    """
    Add the IDs if the request may have them, and remove those of its earlier hops.
    """
    headers = request.headers
    earlier = {
        name: value
        for name, value in headers.items()
        if isinstance(value, _AddedValue) and value.origins is origins
    }
    url = str(request.url)
    added = add_ids_for_hop(headers, url, origins, sign=sign, earlier=earlier)
    for name, text in added.items():
        headers[name] = value = _AddedValue(text)
        value.origins = origins
