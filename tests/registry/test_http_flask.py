"""
The HTTP API as a Flask blueprint: inside the request context, behind the application's own hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flask_login
import pytest
from flask import Flask, Response, g, has_request_context, session
from flask import request as flask_request

from idlanyard import EVERYONE
from idlanyard.integrations.flask import IDLanyard
from idlanyard.registry import SessionRegistry
from idlanyard.registry.flask import sessions_blueprint
from idlanyard.registry.http import SessionRequest
from registry.http_contract import POLICY, HTTPBasics, HTTPContract
from registry.http_site import JSON, SYNC, Broken, Site, by_waitress, fresh

TTL = 3600.0


class RegisteredInFlask(HTTPBasics):
    """
    ``register_blueprint`` in a Flask application.
    """

    @classmethod
    @contextmanager
    def served(cls, url: str) -> Iterator[int]:
        """
        Serve it by waitress.
        """
        app = Flask(__name__)
        for prefix, options in cls.options().items():
            blueprint = sessions_blueprint(SessionRegistry.open(url, ttl=TTL), **options)
            app.register_blueprint(
                blueprint, url_prefix=prefix, name=prefix.strip("/").replace("/", "_")
            )
        IDLanyard(app, POLICY)
        with by_waitress(app) as port:
            yield port


class TestFlaskBlueprint(RegisteredInFlask, HTTPContract):
    kind = SYNC
    # Extensions that let other sites in add to Flask's own answer.
    options_status = 200

    @pytest.mark.parametrize("target", ["/session/x", "/session/create", "/session/x/input"])
    def test_options_have_flask_s_own_answer(self, site: Site, target: str) -> None:
        """
        Extensions that let other sites in (CORS) add to it; it lists the methods of the path.
        """
        answer = site.ask("OPTIONS", f"/api/v1{target}")
        assert (answer.status, answer.is_ours(), answer.body) == (200, False, b"")
        more = ["POST"] if target != "/session/x" else []
        methods = sorted(["DELETE", "GET", "OPTIONS", "PATCH", *more])
        assert answer.headers["allow"] == ", ".join(methods)


class User(flask_login.UserMixin):  # type: ignore[misc]
    """
    A user of Flask-Login.
    """

    def __init__(self, name: str) -> None:
        self.id = name


def is_own(request: SessionRequest) -> bool:
    """
    Return whether the user who is logged in may.
    """
    user = flask_login.current_user
    g.asked = request.action
    session["asked"] = session.get("asked", 0) + 1
    assert request.framework_request.path == flask_request.path
    if not user.is_authenticated:
        return False
    if request.action == "create":
        return bool(request.body.get("client_id") == user.id)
    return request.record is not None and request.record.client_id == user.id


def application(**options: Any) -> Flask:
    """
    Return an application with Flask-Login and the blueprint.
    """
    app = Flask(__name__)
    app.secret_key = "x"
    login = flask_login.LoginManager(app)
    login.user_loader(User)

    @app.post("/login/<name>")
    def log_in(name: str) -> str:
        flask_login.login_user(User(name))
        return name

    options = {"authorize": is_own} | options
    registry = SessionRegistry.open("memory://")
    app.register_blueprint(sessions_blueprint(registry, **options), url_prefix="/api/v1")
    return app


def logged_in(app: Flask, name: str) -> Any:
    """
    Return a client of a user who is logged in.
    """
    client = app.test_client()
    assert client.post(f"/login/{name}").status_code == 200
    return client


def test_authorize_sees_who_is_logged_in() -> None:
    """
    Authorize runs inside the request context: session, g and Flask-Login's user work.
    """
    app = application()
    alice, bob, nobody = logged_in(app, "alice"), logged_in(app, "bob"), app.test_client()
    sent = {"session_id": "s1", "client_id": "alice"}
    for client, status in ((nobody, 403), (bob, 403), (alice, 200), (alice, 409)):
        assert client.post("/api/v1/session/create", json=sent).status_code == status
    for client, status in ((nobody, 403), (bob, 403), (alice, 200)):
        assert client.get("/api/v1/session/s1").status_code == status
    with alice.session_transaction() as kept:
        assert kept["asked"] == 3


def test_on_input_runs_in_the_request_context() -> None:
    """
    On_input sees what authorize and the application's hooks left in g.
    """

    def on_input(record: object, body: dict[str, Any]) -> dict[str, Any]:
        return {"asked": g.asked, "before": g.before, "user": flask_login.current_user.id}

    app = application(on_input=on_input)

    @app.before_request
    def before() -> None:
        g.before = flask_request.path

    client = logged_in(app, "alice")
    client.post("/api/v1/session/create", json={"session_id": "s1", "client_id": "alice"})
    answer = client.post("/api/v1/session/s1/input", json={})
    path = "/api/v1/session/s1/input"
    assert answer.json == {"asked": "input", "before": path, "user": "alice"}
    assert not has_request_context()


def test_hooks_of_the_application_may_refuse_and_add() -> None:
    """
    A before_request function that answers is the answer, and after_request adds to all.
    """
    app = application(authorize=EVERYONE)

    @app.before_request
    def closed() -> Response | None:
        return Response("closed", 418) if "closed" in flask_request.headers else None

    @app.after_request
    def add(response: Response) -> Response:
        response.headers["X-Added"] = "1"
        return response

    client = app.test_client()
    assert client.post("/api/v1/session/create", headers={"closed": "1"}).status_code == 418
    answer = client.get("/api/v1/session/nobody")
    assert (answer.status_code, answer.headers["X-Added"]) == (404, "1")
    assert answer.get_json()["error"] == "HTTPException"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_a_hook_has_read_is_there(chunked: bool) -> None:
    """
    A before_request function may read the body, which is taken from the request then.
    """
    app = application(authorize=EVERYONE)
    read: list[bytes] = []
    app.before_request(lambda: read.append(flask_request.get_data()))
    environ: dict[str, Any] = {}
    if chunked:
        environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    sent = b'{"session_id": "s1"}'
    client = app.test_client()
    answer = client.post(
        "/api/v1/session/create",
        data=sent,
        headers=JSON,
        environ_overrides=environ | ({"CONTENT_LENGTH": ""} if chunked else {}),
    )
    assert (answer.status_code, answer.get_json()["session_id"], read) == (200, "s1", [sent])


class Dripping:
    """
    A body that comes byte by byte, and may break.
    """

    def __init__(self, body: bytes, error: Exception | None = None) -> None:
        self.left = list(body)
        self.error = error

    def read(self, size: int = -1) -> bytes:
        """
        Return the next byte.
        """
        if not self.left and self.error is not None:
            raise self.error
        return bytes([self.left.pop(0)]) if self.left else b""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(None, 200, id="whole"),
        pytest.param(Broken(), 400, id="an error of the server's own"),
    ],
)
def test_a_body_may_come_byte_by_byte(error: Exception | None, status: int) -> None:
    """
    A server may hand over fewer bytes than asked for, and raise errors of its own.
    """
    app = application(authorize=EVERYONE)
    body = b'{"session_id": "s1"}'
    environ = {
        "wsgi.input": Dripping(body, error),
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "",
    }
    answer = app.test_client().post(
        "/api/v1/session/create", headers=JSON, environ_overrides=environ
    )
    assert answer.status_code == status


def test_the_application_s_own_limit_is_the_api_s_413() -> None:
    """
    A body over Flask's MAX_CONTENT_LENGTH is refused in the API's own shape.
    """
    app = application(authorize=EVERYONE)
    app.config["MAX_CONTENT_LENGTH"] = 10
    answer = app.test_client().post("/api/v1/session/create", json={"session_id": "x" * 20})
    assert (answer.status_code, answer.get_json()["error"]) == (413, "HTTPException")


def test_error_handlers_see_what_on_input_raises() -> None:
    """
    An error of on_input is the application's to handle.
    """

    def on_input(record: object, body: object) -> None:
        raise Broken

    app = application(on_input=on_input, authorize=EVERYONE)
    app.register_error_handler(Broken, lambda error: ("broken", 599))
    client = app.test_client()
    client.post("/api/v1/session/create", json={"session_id": "s1"})
    assert client.post("/api/v1/session/s1/input", json={}).status_code == 599


def test_two_blueprints_in_one_application() -> None:
    """
    The same blueprint, or two, may be registered under names of their own, also without a prefix.
    """
    app = Flask(__name__)
    first = sessions_blueprint(SessionRegistry.open("memory://"), authorize=EVERYONE)
    second = sessions_blueprint(SessionRegistry.open("memory://"), authorize=EVERYONE)
    app.register_blueprint(first)
    app.register_blueprint(second, url_prefix="/b", name="b")
    client = app.test_client()
    for prefix in ("", "/b"):
        name = fresh("a/b/")
        sent = {"session_id": name}
        assert client.post(f"{prefix}/session/create", json=sent).status_code == 200
        path = f"{prefix}/session/{name.replace('/', '%2F')}"
        assert client.get(path).get_json()["session_id"] == name
