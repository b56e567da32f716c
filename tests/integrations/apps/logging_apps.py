"""
What servers serve whose lines are read: it logs, it names a user, it fails.
"""

from __future__ import annotations

import logging
from typing import Any

from idlanyard import identify
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations.logging import SessionContextFormatter, install
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

LINE = "line %(session_id)s %(user_id)s %(name)s %(message)s"


class Boom(Exception):
    """
    An exception that no code handles.
    """


def work(path: str) -> None:
    """
    The work of the application in a request.
    """
    identify(user_id="alice")
    logging.getLogger("app").info("at %s", path)
    if path == "/boom":
        raise Boom


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    work(scope["path"])
    headers = [(b"content-length", b"0")] if scope["path"] != "/breaks" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if not headers:
        await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        raise Boom
    await send({"type": "http.response.body", "body": b""})


def wsgi_app(environ: Any, start_response: Any) -> Any:
    work(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "0")])
    return []


handler = logging.StreamHandler()
handler.setFormatter(SessionContextFormatter(LINE))
logging.getLogger().addHandler(handler)
logging.getLogger().setLevel(logging.INFO)
install()

asgi = ASGIMiddleware(asgi_app)
wsgi = WSGIMiddleware(wsgi_app)
