"""
Applications below a prefix: paths of a policy are those below it, however it came about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from idlanyard import PathPrefix, Policy, get_session_context, tenant_spec
from idlanyard.integrations import fastapi, starlette
from idlanyard.integrations.flask import IDLanyard

POLICY = Policy(
    exclude=["/health"],
    tenant=tenant_spec(sources=[PathPrefix("/t/{tenant}")], accept="anyone"),
)
PATHS = ("/health", "/t/acme/x")

Answer = tuple[Any, bool]
"""
What is in force in the view, but for a minted session; whether the session is echoed.
"""


def ids() -> dict[str, str]:
    return {k: v for k, v in get_session_context().as_dict().items() if k != "session_id"}


def ids_of(request: Request) -> Response:
    return JSONResponse(ids())


def starlette_below() -> Starlette:
    app = Starlette(routes=[Route(path, ids_of) for path in PATHS])
    starlette.install(app, POLICY)
    return app


def fastapi_below(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    for path in PATHS:
        app.get(path)(ids)
    fastapi.install(app, POLICY)
    return app


def flask_below() -> Flask:
    app = Flask(__name__)
    for path in PATHS:
        app.add_url_rule(path, path, ids)
    IDLanyard(app, POLICY)
    return app


def asking_asgi(app: Any, prefix: str, **options: Any) -> Callable[[str], Answer]:
    client = TestClient(app, **options)

    def ask(path: str) -> Answer:
        answer = client.get(prefix + path)
        return answer.json(), "X-Session-ID" in answer.headers

    return ask


def asking_wsgi(app: Any, prefix: str) -> Callable[[str], Answer]:
    client = Client(app)

    def ask(path: str) -> Answer:
        answer = client.get(prefix + path)
        return answer.json, "X-Session-ID" in answer.headers

    return ask


def mounted_in_fastapi() -> FastAPI:
    app = FastAPI()
    app.mount("/api", fastapi_below())
    return app


def mounted_twice() -> Starlette:
    return Starlette(
        routes=[Mount("/v1", Starlette(routes=[Mount("/api", starlette_below())]))],
    )


SITES: dict[str, Callable[[], Callable[[str], Answer]]] = {
    "starlette": lambda: asking_asgi(starlette_below(), ""),
    "starlette, mounted": lambda: asking_asgi(
        Starlette(routes=[Mount("/api", starlette_below())]), "/api"
    ),
    "starlette, mounted twice": lambda: asking_asgi(mounted_twice(), "/v1/api"),
    "starlette, root path of the server": lambda: asking_asgi(
        starlette_below(), "", root_path="/api"
    ),
    "fastapi, mounted": lambda: asking_asgi(mounted_in_fastapi(), "/api"),
    "fastapi, root path stripped by the proxy": lambda: asking_asgi(
        fastapi_below(root_path="/api"), ""
    ),
    "fastapi, root path kept by the proxy": lambda: asking_asgi(
        fastapi_below(root_path="/api"), "/api"
    ),
    "fastapi, root path of the server": lambda: asking_asgi(
        fastapi_below(), "/api", root_path="/api"
    ),
    "flask": lambda: asking_wsgi(flask_below(), ""),
    "flask, mounted": lambda: asking_wsgi(
        DispatcherMiddleware(Flask(__name__).wsgi_app, {"/api": flask_below()}), "/api"
    ),
}


# Deprecated in FastAPI 0.165, and still what many applications say.
@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("name", SITES)
def test_paths_are_those_below_the_prefix(name: str) -> None:
    """
    An excluded path is excluded and a tenant is read below the prefix under
    which an application is mounted or published, on both protocols.
    """
    ask = SITES[name]()
    assert [ask(path) for path in PATHS] == [({}, False), ({"tenant_id": "acme"}, True)]
