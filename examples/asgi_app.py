"""
A plain ASGI application.

    uvicorn --app-dir examples asgi_app:app
"""

from __future__ import annotations

import json
from typing import Any

from idlanyard import get_session_context
from idlanyard.asgi import SessionContextMiddleware


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = json.dumps(get_session_context().as_dict()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


app = SessionContextMiddleware(hello)
