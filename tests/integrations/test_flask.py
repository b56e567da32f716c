"""
Flask: the contract, and what the extension promises besides.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from flask import Flask, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.test import Client

from idlanyard import (
    EVERYONE,
    IDLanyardError,
    IDSpec,
    Policy,
    PolicyError,
    SessionContext,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    session_context,
)
from idlanyard.integrations.flask import IDLanyard, current_context
from integrations.apps import flask_app
from integrations.apps.seen import JOURNAL
from integrations.contract import CLOSED, TRUSTING, Contract, nothing_is_noted
from integrations.sides import Ask, asking_wsgi

__all__ = ["nothing_is_noted"]


class TestFlask(Contract):
    """
    Flask keeps the contract.
    """

    build = staticmethod(flask_app.build)
    protocol = "wsgi"
    escapes = False

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        return asking_wsgi(app.test_client() if isinstance(app, Flask) else Client(app))


BOB = {"X-Session-ID": "s1", "X-User-ID": "bob"}


def plain(**config: Any) -> Flask:
    """
    Return an application that says what is bound.
    """
    app = Flask(__name__)
    app.config.update(config)
    app.add_url_rule("/", view_func=lambda: current_context.as_dict())
    return app


def test_an_extension_serves_several_applications() -> None:
    """
    ``init_app`` in factories; each application has the policy once.
    """
    ids = IDLanyard(policy=TRUSTING)
    for app in (plain(), plain()):
        ids.init_app(app)
        wrapped = app.wsgi_app
        ids.init_app(app)
        assert app.wsgi_app is wrapped
        answer = app.test_client().get("/", headers=BOB)
        assert answer.json == {"session_id": "s1", "user_id": "bob"}
        assert answer.headers.getlist("X-Session-ID") == ["s1"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, {"session_id": "s1"}, id="nothing"),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": ["127.0.0.1"]},
            {"session_id": "s1", "user_id": "bob"},
            id="peers",
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": "everyone"},
            {"session_id": "s1", "user_id": "bob"},
            id="everyone, as text",
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": EVERYONE},
            {"session_id": "s1", "user_id": "bob"},
            id="everyone",
        ),
        pytest.param({"IDLANYARD_ENABLED": False}, {}, id="switched off"),
        pytest.param(
            {"IDLANYARD_USER": {"ACCEPT": "anyone"}, "IDLANYARD_SESSION": None},
            {"user_id": "bob"},
            id="rules",
        ),
        pytest.param(
            {
                "IDLANYARD_EXTRA": [
                    {"NAME": "device_id", "HEADER": "X-User-ID", "ACCEPT": "anyone"},
                    IDSpec(name="trace_id", header="X-Trace-ID"),
                ],
                "IDLANYARD_USER": None,
            },
            {"session_id": "s1", "device_id": "bob"},
            id="further IDs",
        ),
    ],
)
def test_the_configuration_describes_the_policy(
    config: dict[str, Any], expected: dict[str, str]
) -> None:
    """
    ``app.config["IDLANYARD_..."]`` are the policy's fields in capitals.
    """
    app = plain(**config)
    IDLanyard(app)
    assert app.test_client().get("/", headers=BOB).json == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {"IDLANYARD_TRUSTED_PEER": []},
            "IDLANYARD_TRUSTED_PEER is no option: write IDLANYARD_TRUSTED_PEERS",
            id="misspelt",
        ),
        pytest.param(
            {"IDLANYARD_QUUX": 1},
            "IDLANYARD_QUUX is no option: write one of SESSION, USER, TENANT, EXTRA, TRUSTED",
            id="far off",
        ),
        pytest.param(
            {"IDLANYARD_USER": {"HEADR": "X"}},
            "IDLANYARD_USER['HEADR'] is no option: write IDLANYARD_USER['HEADER']",
            id="misspelt inside",
        ),
        pytest.param(
            {"IDLANYARD_USER": {"header": "X"}},
            "IDLANYARD_USER['header'] is no option: write IDLANYARD_USER['HEADER']",
            id="small letters",
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": ["10.0.0.5/8"]},
            "IDLANYARD_TRUSTED_PEERS: trusted_peers has '10.0.0.5/8'",
            id="wrong network",
        ),
        pytest.param(
            {"IDLANYARD_SESSION": {"MAX_LENGTH": 0}},
            "IDLANYARD_SESSION['MAX_LENGTH']: max_length of session_id is a number",
            id="wrong rule",
        ),
        pytest.param(
            {"IDLANYARD_EXTRA": [{"NAME": "device_id"}]},
            "IDLANYARD_EXTRA[...]['NAME'] and IDLANYARD_EXTRA[...]['HEADER'] are both needed",
            id="incomplete",
        ),
        pytest.param(
            {"IDLANYARD_EXTRA": "X-Device-ID"}, "IDLANYARD_EXTRA: extra is a list", id="no list"
        ),
        pytest.param(
            {"IDLANYARD_SESSION": "X-Session"},
            "IDLANYARD_SESSION is str: write IDLANYARD_SESSION = {'HEADER': 'X-Session'}",
            id="no rules",
        ),
    ],
)
def test_a_wrong_configuration_is_said(config: dict[str, Any], message: str) -> None:
    """
    R14: it raises at start, in a sentence that says where and what to write.
    """
    with pytest.raises(PolicyError) as caught:
        IDLanyard(plain(**config))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {"IDLANYARD": {"TRUSTED_PEERS": ["127.0.0.1"], "USER": {"REQUIRED": True}}},
            "IDLANYARD is no option: write app.config['IDLANYARD_TRUSTED_PEERS'], "
            "app.config['IDLANYARD_USER']",
            id="as in Django",
        ),
        pytest.param(
            {"IDLANYARD": {}},
            "IDLANYARD is no option: write app.config['IDLANYARD_TRUSTED_PEERS'], or "
            "IDLanyard(app, policy=Policy(...))",
            id="empty",
        ),
        pytest.param(
            {"IDLANYARD": CLOSED},
            "IDLANYARD is no option: write app.config['IDLANYARD_TRUSTED_PEERS'], or "
            "IDLanyard(app, policy=Policy(...))",
            id="a policy",
        ),
        pytest.param(
            {"IDLANYARD": {"TRUSTED_PEER": []}},
            "IDLANYARD_TRUSTED_PEER is no option: write IDLANYARD_TRUSTED_PEERS",
            id="misspelt inside",
        ),
        pytest.param(
            {"idlanyard_trusted_peers": []},
            "idlanyard_trusted_peers is no option: write app.config['IDLANYARD_TRUSTED_PEERS']",
            id="small letters",
        ),
        pytest.param(
            {"IDLANYARD-TRUSTED-PEERS": []},
            "IDLANYARD-TRUSTED-PEERS is no option: write app.config['IDLANYARD_TRUSTED_PEERS']",
            id="hyphens",
        ),
        pytest.param(
            {"ID_LANYARD_SESSION": None},
            "ID_LANYARD_SESSION is no option: write app.config['IDLANYARD_SESSION']",
            id="two words",
        ),
        pytest.param(
            {"IDLANYARDEXCLUDE": ["/health"]},
            "IDLANYARDEXCLUDE is no option: write app.config['IDLANYARD_EXCLUDE']",
            id="one word",
        ),
        pytest.param(
            {"idlanyard_trusted_peer": []},
            "IDLANYARD_TRUSTED_PEER is no option: write IDLANYARD_TRUSTED_PEERS",
            id="misspelt twice",
        ),
    ],
)
def test_a_name_that_looks_like_ours_is_said(config: dict[str, Any], message: str) -> None:
    """
    A key that nobody would read raises at start, with the key to write.
    """
    with pytest.raises(PolicyError) as caught:
        IDLanyard(plain(**config))
    assert str(caught.value) == message


def test_the_name_to_write_is_accepted() -> None:
    """
    The key that the message says, written as it stands, is in force.
    """
    with pytest.raises(PolicyError) as caught:
        IDLanyard(plain(IDLANYARD={"TRUSTED_PEERS": ["127.0.0.1"]}))
    (key,) = re.findall(r"app\.config\['(\w+)'\]", str(caught.value))
    app = plain(**{key: ["127.0.0.1"]})
    IDLanyard(app)
    assert app.test_client().get("/", headers=BOB).json == {"session_id": "s1", "user_id": "bob"}


@pytest.mark.parametrize(
    ("policy", "first", "later", "unread", "remedy"),
    [
        pytest.param(
            None,
            {},
            {"IDLANYARD_TRUSTED_PEERS": ["127.0.0.1"]},
            ["IDLANYARD_TRUSTED_PEERS"],
            "set it before IDLanyard(app) or init_app",
            id="set",
        ),
        pytest.param(
            None,
            {"IDLANYARD_TRUSTED_PEERS": [], "IDLANYARD_EXPOSE": True},
            {"IDLANYARD_TRUSTED_PEERS": ["127.0.0.1"]},
            ["IDLANYARD_TRUSTED_PEERS"],
            "set it before IDLanyard(app) or init_app",
            id="changed",
        ),
        pytest.param(
            None,
            {},
            {"IDLANYARD": {}, "ID_LANYARD_USER": None},
            ["IDLANYARD", "ID_LANYARD_USER"],
            "set it before IDLanyard(app) or init_app",
            id="that looks like ours",
        ),
        pytest.param(
            CLOSED,
            {"IDLANYARD_ENABLED": False},
            {},
            ["IDLANYARD_ENABLED"],
            "the policy passed to IDLanyard applies",
            id="beside a policy",
        ),
        pytest.param(None, {"IDLANYARD_ENABLED": True}, {}, [], "", id="none"),
    ],
)
def test_a_setting_that_nobody_reads_is_said_once(
    policy: Policy | None,
    first: dict[str, Any],
    later: dict[str, Any],
    unread: list[str],
    remedy: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Configuration that came after the extension, or stands beside a policy, is
    logged at the first request with what to do, by its name and without its value.
    """
    app = plain(**first)
    IDLanyard(app, policy)
    app.config.update(later)
    with caplog.at_level(logging.WARNING, "idlanyard"):
        for _ in range(2):
            app.test_client().get("/", headers={"X-Session-ID": "s1"})
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(unread)
    assert all(
        f"app.config[{key!r}]" in message for key, message in zip(unread, messages, strict=True)
    )
    assert all(remedy in message and "127.0.0.1" not in message for message in messages)


def test_the_policy_given_wins_over_the_configuration() -> None:
    """
    The argument, then the configuration, then the environment.
    """
    app = plain(IDLANYARD_ENABLED=False)
    IDLanyard(app, TRUSTING)
    assert app.test_client().get("/", headers=BOB).json == {"session_id": "s1", "user_id": "bob"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: IDLanyard(policy="x"), "policy is a Policy, not str", id="policy"),  # type: ignore[arg-type]
        pytest.param(
            lambda: IDLanyard(plain(), trusted_peers=["127.0.0.1"]),  # type: ignore[call-arg]
            r"write IDLanyard\(app, Policy\(trusted_peers=\['127.0.0.1'\]\)\)",
            id="option",
        ),
        pytest.param(lambda: IDLanyard(user_loader="x"), "user_loader is a function", id="loader"),  # type: ignore[arg-type]
        pytest.param(
            lambda: IDLanyard(plain().wsgi_app),  # type: ignore[arg-type]
            "init_app takes the Flask application, not method",
            id="application",
        ),
    ],
)
def test_wrong_arguments_are_said(make: Callable[[], Any], message: str) -> None:
    """
    R14: what is no policy, loader or application raises when it is given.
    """
    with pytest.raises(TypeError, match=message):
        make()


def test_two_policies_for_one_application_are_refused() -> None:
    """
    R14: the second one raises what to do; nothing of the first is lost.
    """
    app = plain()
    IDLanyard(app, TRUSTING)
    with pytest.raises(IDLanyardError, match="make one IDLanyard with both"):
        IDLanyard(app, CLOSED)
    with pytest.raises(IDLanyardError, match="make one IDLanyard with both"):
        IDLanyard(app, TRUSTING, user_loader=lambda: None)
    assert app.test_client().get("/", headers=BOB).json == {"session_id": "s1", "user_id": "bob"}


def test_the_current_context_is_what_is_in_force() -> None:
    """
    The proxy follows blocks and ``identify``, inside requests and outside.
    """
    app = plain()

    @app.get("/login")
    def login() -> list[Any]:
        identify(user_id="alice")
        with session_context(session_id="block"):
            inside = current_context.session_id
        return [inside, current_context.session_id, current_context.user_id]

    IDLanyard(app, CLOSED)
    answer = app.test_client().get("/login", headers=BOB)
    assert answer.json == ["block", "s1", "alice"]
    assert current_context.is_empty()
    with session_context("outside"):
        assert current_context == SessionContext("outside")


def test_a_test_client_keeps_the_context() -> None:
    """
    R4, environment: in ``with app.test_client()`` the proxy says what the request had, as
    ``request`` does, and nothing stays bound.
    """
    app = plain()
    IDLanyard(app, TRUSTING)
    with app.test_client() as client:
        client.get("/", headers=BOB)
        assert request.path == "/"
        assert current_context == SessionContext("s1", "bob")
        assert get_session_context().is_empty()
    with app.test_request_context("/"):
        assert current_context.is_empty()
    assert current_context.is_empty()


def test_teardown_functions_have_the_ids() -> None:
    """
    R4: functions at the end of the request and of the application context see the IDs.
    """
    app = plain()
    app.teardown_request(lambda error: JOURNAL.note("request", get_session_id()))
    app.teardown_appcontext(lambda error: JOURNAL.note("context", get_session_id()))
    IDLanyard(app, CLOSED)
    app.test_client().get("/", headers=BOB)
    assert (JOURNAL.wait_for("request"), JOURNAL.wait_for("context")) == (["s1"], ["s1"])


def test_async_views_have_the_ids() -> None:
    """
    R2: an async view sees the IDs, and whom it identifies is echoed.
    """
    app = Flask(__name__)

    @app.get("/")
    async def read() -> str:
        identify(user_id="alice")
        return str(get_session_id())

    IDLanyard(app, CLOSED)
    answer = app.test_client().get("/", headers=BOB)
    assert (answer.text, answer.headers["X-User-ID"]) == ("s1", "alice")


def test_a_wrapper_inside_the_middleware_stays() -> None:
    """
    A wrapper that is put inside the middleware before the first request serves every request.
    """
    app = plain()
    IDLanyard(app, CLOSED)
    asked: list[str] = []

    def wrap(inner: Any) -> Any:
        def wrapper(environ: Any, start_response: Any) -> Any:
            asked.append(environ["PATH_INFO"])
            return inner(environ, start_response)

        return wrapper

    app.wsgi_app.app = wrap(app.wsgi_app.app)  # type: ignore[attr-defined]
    for path in ("/1", "/2", "/3"):
        app.test_client().get(path)
    assert asked == ["/1", "/2", "/3"]


class Person(UserMixin):  # type: ignore[misc]
    """
    A user as Flask-Login wants one.
    """

    def __init__(self, name: str) -> None:
        self.id = name


def with_logins() -> Flask:
    """
    Return an application in which Flask-Login knows who has logged in.
    """
    app = plain(SECRET_KEY="of the tests")
    LoginManager(app).user_loader(Person)

    @app.get("/login/<name>")
    def login(name: str) -> dict[str, str]:
        login_user(Person(name))
        return current_context.as_dict()

    @app.get("/logout")
    def logout() -> dict[str, str]:
        logout_user()
        return current_context.as_dict()

    @app.get("/as/<name>")
    def act_as(name: str) -> dict[str, str]:
        identify(user_id=name)
        return current_context.as_dict()

    IDLanyard(app, TRUSTING, user_loader=lambda: current_user.get_id())
    return app


def test_who_has_logged_in_is_the_user() -> None:
    """
    Flask-Login's user is named before the view and on the response, that of a
    login or a logout from its own response on; the view's own word stands.
    """
    client = with_logins().test_client()
    session = {"X-Session-ID": "s1"}
    expected = [
        ("/", None, None),
        ("/login/alice", None, "alice"),
        ("/", "alice", "alice"),
        ("/as/root", "root", "root"),
        ("/nowhere", None, "alice"),
        ("/logout", "alice", None),
        ("/", None, None),
    ]
    for path, inside, echoed in expected:
        answer = client.get(path, headers=session)
        assert answer.headers.get("X-User-ID") == echoed, path
        assert (answer.json or {}).get("user_id") == inside, path


def test_without_a_login_the_proxy_is_believed() -> None:
    """
    R6: where nobody has logged in the user of the trusted proxy stays; a login goes before it.
    """
    client = with_logins().test_client()
    assert client.get("/", headers=BOB).headers["X-User-ID"] == "bob"
    client.get("/login/alice", headers=BOB)
    assert client.get("/", headers=BOB).headers["X-User-ID"] == "alice"


def test_requests_under_one_application_context_keep_apart() -> None:
    """
    R1: in tests that hold one application context, each request has the user of its own session.
    """
    app = plain(SECRET_KEY="of the tests")

    @app.get("/login/<name>")
    def login(name: str) -> str:
        session["user"] = name
        return name

    IDLanyard(app, TRUSTING, user_loader=lambda: session.get("user"))
    with app.app_context():
        alice, nobody = app.test_client(), app.test_client()
        alice.get("/login/alice")
        for _ in range(2):
            assert alice.get("/").headers["X-User-ID"] == "alice"
        assert "X-User-ID" not in nobody.get("/").headers
        assert nobody.get("/", headers=BOB).headers["X-User-ID"] == "bob"


def test_outside_requests_nobody_is_named() -> None:
    """
    R2: a request context that a test pushes by hand has no request of ours, and binds nobody.
    """
    app = plain()
    IDLanyard(app, TRUSTING, user_loader=lambda: "alice")
    with app.test_request_context("/"):
        app.preprocess_request()
        assert get_user_id() is None
    assert get_session_context().is_empty()


async def load_later() -> int:
    return 7


def fail() -> str:
    raise LookupError("the database is down")


@pytest.mark.parametrize(
    ("loader", "user"),
    [
        pytest.param(load_later, "7", id="async, a number"),
        pytest.param(fail, None, id="that fails"),
        pytest.param(lambda: False, None, id="that says no"),
        pytest.param(lambda: "no id\r\n", None, id="whose ID is none"),
    ],
)
def test_a_loader_never_fails_a_request(
    loader: Any, user: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: what it returns is made text; what it raises is logged once, and the request goes on.
    """
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(get_user_id()))
    IDLanyard(app, CLOSED, user_loader=loader)
    with caplog.at_level(logging.ERROR, "idlanyard"):
        answers = [app.test_client().get("/") for _ in range(2)]
    assert [(a.status_code, a.text) for a in answers] == [(200, str(user))] * 2
    assert [answer.headers.get("X-User-ID") for answer in answers] == [user] * 2
    assert len(caplog.records) == (0 if user else 1)
    assert all("user_loader failed" in record.message for record in caplog.records)
