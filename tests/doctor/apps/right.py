"""
Applications that the doctor finds nothing wrong with.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from flask import Flask

from idlanyard import Policy
from idlanyard.integrations.fastapi import install
from idlanyard.integrations.flask import IDLanyard


async def boom() -> None:
    raise LookupError("as asked")


async def home() -> dict[str, str]:
    return {"home": "sweet home"}


async def stream() -> StreamingResponse:
    return StreamingResponse(iter(["one\n", "two\n", "three\n"]))


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def make_fastapi() -> FastAPI:
    app = FastAPI()
    app.add_api_route("/", home)
    app.add_api_route("/boom", boom)
    app.add_api_route("/stream", stream)
    app.add_api_websocket_route("/chat", chat)
    return app


asgi = make_fastapi()
install(asgi, Policy(trusted_peers=["10.0.0.5"]))


def make_flask() -> Flask:
    app = Flask("right")

    def fail() -> str:
        raise LookupError("as asked")

    def parts() -> Iterator[str]:
        yield from ("one\n", "two\n")

    app.add_url_rule("/", view_func=lambda: "home", endpoint="home")
    app.add_url_rule("/boom", view_func=fail)
    app.add_url_rule("/stream", view_func=lambda: parts(), endpoint="stream")
    return app


def create_app() -> Flask:
    """
    A factory, as Flask's documentation recommends.
    """
    app = make_flask()
    IDLanyard(app)
    return app


wsgi = create_app()
