"""
The page of the tour, its events and its buttons, for this machine only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from idlanyard._demo.servers import HOST
from idlanyard._demo.tour.hub import Hub
from idlanyard._demo.tour.journeys import SCENES, Client

if TYPE_CHECKING:
    from starlette.requests import Request

_FILES: Final = {
    "/": ("tour.html", "text/html"),
    "/tour.css": ("tour.css", "text/css"),
    "/tour.js": ("tour.js", "text/javascript"),
    "/view.js": ("view.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_SECURE: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_page(hub: Hub, client: Client) -> Any:
    """
    Return the application of the page.
    """

    def serve_file(request: Request) -> Response:
        name, kind = _FILES[request.url.path]
        body = files("idlanyard._demo.tour").joinpath("static", name).read_bytes()
        return Response(body, media_type=kind, headers=_SECURE)

    def serve_events(_request: Request) -> Response:
        return StreamingResponse(
            _format_events(hub), media_type="text/event-stream", headers=_SECURE
        )

    async def begin_journey(request: Request) -> Response:
        scene = request.path_params["scene"]
        if scene == "crowd":
            return JSONResponse(await client.send_crowd(), headers=_SECURE)
        if scene not in SCENES:
            return PlainTextResponse("no such journey\n", 404, headers=_SECURE)
        status = await asyncio.to_thread(client.travel, scene)
        return JSONResponse({"status": status}, headers=_SECURE)

    routes = [
        *(Route(path, serve_file) for path in _FILES),
        Route("/events", serve_events),
        Route("/journeys/{scene}", begin_journey, methods=["POST"]),
    ]
    return _ThisMachineOnly(Starlette(routes=routes))


async def _format_events(hub: Hub) -> AsyncIterator[str]:
    # Begins the response, at which the page enables its buttons.
    yield 'data: {"kind": "open"}\n\n'
    async for event in hub.listen():
        yield f"data: {json.dumps(event)}\n\n"


class _ThisMachineOnly:
    """
    Refuses requests that a page of another site may have sent.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pairs = ((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"])
        refusal = find_refusal(scope["method"], dict(pairs), scope["server"][1])
        if refusal is None:
            await self._app(scope, receive, send)
            return
        await PlainTextResponse(refusal + "\n", 403, headers=_SECURE)(scope, receive, send)


def find_refusal(method: str, headers: Mapping[str, str], port: int) -> str | None:
    """
    Return why a request is refused, or ``None`` if it is the page's own.

    A host name of an attacker may resolve to this machine, so the host is
    compared; another site may post to any address, so a button's request needs
    the page's own origin.
    """
    own = {f"{HOST}:{port}", f"localhost:{port}"}
    host = headers.get("host", "")
    if host not in own:
        return f"this page is http://{HOST}:{port}/, and not of the host that was asked for"
    if method not in ("GET", "HEAD") and headers.get("origin") != f"http://{host}":
        return f"only the page at http://{HOST}:{port}/ may send this"
    return None
