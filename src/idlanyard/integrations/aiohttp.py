"""
aiohttp: ``ClientSession(middlewares=[propagate(to=[...])])`` lets requests carry the IDs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from idlanyard._binding.carriers import ids_to_send
from idlanyard._policy.origins import Origins
from idlanyard.integrations.custom import report_failure

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

__all__ = ["propagate"]


def propagate(*, to: Iterable[str]) -> ClientMiddlewareType:
    """
    Return a client middleware that lets requests carry the IDs in force to the origins *to*.

    The IDs are read, and the origin is looked at, whenever a request is sent:
    a redirect decides anew for each hop. A header that the caller wrote wins.

    Args:
        to: the origins that may have the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``.

    Returns:
        What ``ClientSession`` and its requests take in ``middlewares``.

    Raises:
        PolicyError: an entry of *to* is no origin.
    """
    origins = Origins(to)

    async def propagating(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        try:
            _decide(request, origins)
        except Exception as error:
            report_failure("propagation by aiohttp", error)
        return await handler(request)

    return propagating


class _Ours(str):
    """
    A header's value that we wrote, and the allow-list that let it out.
    """

    __slots__ = ("origins",)

    origins: Origins


def _decide(request: ClientRequest, origins: Origins) -> None:
    """
    Give a request the IDs where it may have them, and take back what an earlier sending had.
    """
    headers = request.headers
    for name, value in list(headers.items()):
        if isinstance(value, _Ours) and value.origins is origins:
            del headers[name]
    if not origins.allow(str(request.url)):
        return
    ids = ids_to_send()
    for name, value in ids.items():
        if name not in headers:
            ours = _Ours(value)
            ours.origins = origins
            headers[name] = ours
