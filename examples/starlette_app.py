"""
Starlette, with a streamed response that keeps its IDs.

    uvicorn --app-dir examples starlette_app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from idlanyard import get_session_id
from idlanyard.asgi import SessionContextMiddleware


async def count() -> AsyncIterator[str]:
    for number in range(3):
        yield f"{number} {get_session_id()}\n"


async def stream(request: Request) -> StreamingResponse:
    return StreamingResponse(count(), media_type="text/plain")


app = SessionContextMiddleware(Starlette(routes=[Route("/", stream)]))
