"""
The contract's routes on Falcon's WSGI side.
"""

from __future__ import annotations

import threading
from typing import Any

import falcon
from falcon import Request, Response

from idlanyard import carry, get_session_id, identify
from idlanyard.wsgi import SessionContextMiddleware
from integrations.apps.seen import (
    Boom,
    Gate,
    building,
    ids,
    note_background,
    seen,
    three,
    without_end,
)

WAITING = Gate()


class Read:
    def on_get(self, req: Request, resp: Response) -> None:
        resp.media = seen(req.headers.items())


class Login:
    def on_get(self, req: Request, resp: Response) -> None:
        identify(user_id="alice")
        resp.media = ids()


class Wrong:
    def on_get(self, req: Request, resp: Response) -> None:
        raise falcon.HTTPConflict


class Bang:
    def on_get(self, req: Request, resp: Response) -> None:
        raise Boom("as it was")


class Own:
    def on_get(self, req: Request, resp: Response) -> None:
        resp.set_header("X-Session-ID", "app-set")
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "own"


class Stream:
    def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = three()


class Endless:
    def on_get(self, req: Request, resp: Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = without_end()


class Background:
    def on_get(self, req: Request, resp: Response) -> None:
        threading.Thread(target=carry(note_background)).start()
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "ok"


class Wait:
    def on_get(self, req: Request, resp: Response) -> None:
        first = get_session_id()
        WAITING.wait(500)
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"{first} {get_session_id()}"


def handle(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
    resp.status = falcon.HTTP_500
    resp.content_type = falcon.MEDIA_TEXT
    resp.text = f"handled {get_session_id()}"


ROUTES: dict[str, object] = {
    "/ids": Read(),
    "/login": Login(),
    "/wrong": Wrong(),
    "/boom": Bang(),
    "/own": Own(),
    "/stream": Stream(),
    "/endless": Endless(),
    "/background": Background(),
    "/wait": Wait(),
}


def bare(handler: bool = False) -> Any:
    """
    Return the application that knows nothing of IDs.
    """
    api = falcon.App()
    for path, resource in ROUTES.items():
        api.add_route(path, resource)
    if handler:
        api.add_error_handler(Exception, handle)
    return api


build = building(bare, SessionContextMiddleware)
