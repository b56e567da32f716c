"""
IDs that the server sets: in the ASGI scope, or in the WSGI environ.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from drive import ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import (
    Cookie,
    Environ,
    Header,
    Policy,
    PolicyError,
    Provenance,
    Scope,
    asgi,
    get_session_context,
    require,
    session_spec,
    subscribe,
    user_spec,
    wsgi,
)
from idlanyard._decision import compiled_spec, resolve

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Seen(NamedTuple):
    """
    The user, its provenance, the header of it that the application sees, and why it was dropped.
    """

    user: str | None
    provenance: Provenance | None
    header: str | None
    reasons: Sequence[str | None]


def serve_asgi(source: Any, *, header: str | None = None, **held: Any) -> Seen:
    """
    Return the user of a request whose scope holds more.
    """
    seen: list[Any] = []
    reasons: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context = get_session_context()
        shown = dict(scope["headers"]).get(b"x-user-id")
        seen.extend([context.user_id, context.provenance("user_id")])
        seen.append(None if shown is None else shown.decode())

    undo = subscribe("reject", lambda event: reasons.append(event.reason))
    lines = [] if header is None else [("X-User-ID", header)]
    door = asgi.SessionContextMiddleware(app, Policy(user=user_spec(sources=[source])))
    try:
        ask_asgi_at_once(door, http_scope(lines, **held))
    finally:
        undo()
    return Seen._make([*seen, reasons])


def serve_wsgi(source: Any, *, header: str | None = None, **held: Any) -> Seen:
    """
    Return the user of a request whose environ holds more.
    """
    seen: list[Any] = []
    reasons: list[str | None] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        context = get_session_context()
        seen.extend([context.user_id, context.provenance("user_id")])
        seen.append(environ.get("HTTP_X_USER_ID"))
        start_response("200 OK", [])
        return []

    undo = subscribe("reject", lambda event: reasons.append(event.reason))
    lines = [] if header is None else [("X-User-ID", header)]
    door = wsgi.SessionContextMiddleware(app, Policy(user=user_spec(sources=[source])))
    try:
        ask_wsgi(door, environ_of(lines, **held))
    finally:
        undo()
    return Seen._make([*seen, reasons])


LAMBDA = SimpleNamespace(tenant_id="acme")
HELD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an attribute": (Scope("user.username"), {"user": SimpleNamespace(username="alice")}, "alice"),
    "a key": (Scope("user.username"), {"user": {"username": "alice"}}, "alice"),
    "a value": (Scope("user"), {"user": "alice"}, "alice"),
    "a number": (Scope("user.id"), {"user": SimpleNamespace(id=42)}, "42"),
    "a UUID": (Scope("user.id"), {"user": SimpleNamespace(id=UUID)}, str(UUID)),
    "a key with a dot": (Scope("aws.context.tenant_id"), {"aws.context": LAMBDA}, "acme"),
    "a longer key first": (Scope("a.b"), {"a.b": "long", "a": {"b": "short"}}, "long"),
    "a certificate": (
        Scope(
            "extensions.tls.client_cert_name",
            parse=lambda name: name.partition("CN=")[2].partition(",")[0],
        ),
        {"extensions": {"tls": {"client_cert_name": "CN=alice,O=Acme"}}},
        "alice",
    ),
}


@pytest.mark.parametrize("case", HELD)
@pytest.mark.parametrize("header", [None, "mallory"], ids=["alone", "beside a header"])
def test_a_value_in_the_scope_is_the_user(case: str, header: str | None) -> None:
    """
    S1: what the server has set is proven, and replaces what a client claims.
    """
    source, held, user = HELD[case]
    reasons = [compiled_spec.NOT_BY_SERVER] if header else []
    assert serve_asgi(source, header=header, **held) == Seen(user, Provenance.CODE, user, reasons)


@pytest.mark.parametrize("header", [None, "mallory"], ids=["alone", "beside a header"])
def test_a_variable_of_the_server_is_the_user(header: str | None) -> None:
    """
    S1: ``REMOTE_USER`` is what the server has authenticated.
    """
    seen = serve_wsgi(Environ("REMOTE_USER"), header=header, REMOTE_USER="alice")
    reasons = [compiled_spec.NOT_BY_SERVER] if header else []
    assert seen == Seen("alice", Provenance.CODE, "alice", reasons)


def test_a_variable_may_be_parsed() -> None:
    """
    A function takes the ID out of the text, as the common name out of a subject.
    """
    source = Environ("SSL_CLIENT_S_DN", parse=lambda name: name.rpartition("CN=")[2])
    assert serve_wsgi(source, SSL_CLIENT_S_DN="O=Acme,CN=alice").user == "alice"


ABSENT: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("user.username", {}),
    "no attribute": ("user.username", {"user": SimpleNamespace()}),
    "no key": ("user.username", {"user": {}}),
    "none": ("user.username", {"user": None}),
    "empty": ("user.username", {"user": {"username": ""}}),
    "too short a path": ("user.name.first", {"user": SimpleNamespace(name=None)}),
}


@pytest.mark.parametrize("case", ABSENT)
def test_without_a_value_there_is_no_user_whatever_a_header_says(case: str) -> None:
    """
    R6: a header is dropped where the server is asked, and not in silence.
    """
    path, held = ABSENT[case]
    assert serve_asgi(Scope(path), **held) == Seen(None, None, None, [])
    dropped = Seen(None, None, None, [compiled_spec.NOT_BY_SERVER])
    assert serve_asgi(Scope(path), header="mallory", **held) == dropped


def test_each_protocol_has_its_own_source() -> None:
    """
    ``Scope`` is absent on WSGI and ``Environ`` on ASGI, also together.
    """
    assert serve_wsgi(Scope("user"), user="alice").user is None
    assert serve_asgi(Environ("REMOTE_USER"), REMOTE_USER="alice").user is None


@pytest.mark.parametrize(
    "path",
    [
        "authorizer.principalId",
        "authorizer.jwt.claims.sub",
        "authentication.clientCert.serialNumber",
        "identity.clientCert.serialNumber",
        "identity.user",
        "identity.apiKeyId",
        "accountId",
        "connectionId",
    ],
)
def test_what_an_authorizer_says_may_be_read(path: str) -> None:
    """
    AWS writes the verdict of an authorizer beside what the client sent.
    """
    context: Any = "alice"
    for name in reversed(path.split(".")):
        context = {name: context}
    held: dict[str, Any] = {"aws.event": {"requestContext": context}}
    assert serve_asgi(Scope(f"aws.event.requestContext.{path}"), **held).user == "alice"


def test_a_variable_of_the_server_behind_an_adapter_may_be_read() -> None:
    """
    An adapter puts the environ of the server into the scope.
    """
    source = Scope("wsgi_environ.REMOTE_USER")
    assert serve_asgi(source, wsgi_environ={"REMOTE_USER": "alice"}).user == "alice"


class Lazy:
    """
    A user whose name cannot be read.
    """

    @property
    def username(self) -> str:
        """
        The name.
        """
        raise LookupError


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(Lazy(), id="raises"),
        pytest.param({"username": True}, id="a truth value"),
        pytest.param({"username": ["alice"]}, id="a list"),
        pytest.param({"username": b"alice"}, id="bytes"),
    ],
)
def test_a_value_that_cannot_be_read_fails_no_request(
    user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: what others put into the scope is logged once if it is no ID, and absent.
    """
    seen = serve_asgi(Scope("user.username"), user=user)
    assert seen == Seen(None, None, None, [resolve.PARSE_FAILED])
    assert "read of Scope(path='user.username'" in caplog.text


@pytest.mark.parametrize("found", [42, b"alice", True], ids=["a number", "bytes", "a truth value"])
def test_a_function_that_returns_no_text_fails_no_request(
    found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: a function that returns something else than text is logged once, and the ID is absent.
    """

    def parse(text: str) -> Any:
        return found

    for seen in (
        serve_asgi(Scope("user", parse=parse), user="alice"),
        serve_wsgi(Environ("REMOTE_USER", parse=parse), REMOTE_USER="alice"),
    ):
        assert seen == Seen(None, None, None, [resolve.PARSE_FAILED])
    assert "return a str, or None" in caplog.text


def test_a_value_passes_the_check_of_the_id() -> None:
    """
    S6: a server may set what is no ID.
    """
    assert serve_wsgi(Environ("REMOTE_USER"), REMOTE_USER="a b").reasons == [
        "character not allowed"
    ]


def test_a_user_by_the_server_satisfies_a_demand_for_proof() -> None:
    """
    ``require(proven=True)`` returns what the server has set.
    """
    users: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        users.append(require("user_id", proven=True))
        start_response("200 OK", [])
        return []

    policy = Policy(user=user_spec(sources=[Environ("REMOTE_USER")]))
    ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ_of(REMOTE_USER="alice"))
    assert users == ["alice"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: Scope(""), "is no path: write Scope('user.username')", id="empty"),
        pytest.param(lambda: Scope("a..b"), "is no path", id="an empty name"),
        pytest.param(lambda: Environ(None), "is no key", id="none"),  # type: ignore[arg-type]
        pytest.param(lambda: Environ("HTTP_X_USER_ID"), "write Header('X-User-Id')", id="a header"),
        pytest.param(
            lambda: Scope("headers"), "holds what a client writes", id="headers of the scope"
        ),
        *(
            pytest.param(partial(Scope, path), "holds what a client writes", id=path)
            for path in (
                *("path_params.user_id", "url_route.kwargs.id", "aws.event.headers.x-user-id"),
                *("aws.event.path", "aws.event.queryStringParameters.user", "client"),
                *("aws.event.requestContext", "aws.event.requestContext.http.userAgent"),
                *("aws.event.requestContext.path", "aws.event.requestContext.domainPrefix"),
                *("aws.event.requestContext.requestId", "aws.event.requestContext.resourcePath"),
                *("aws.event.requestContext.identity.apiKey", "state.path", "state.query_params"),
                *("aws.event.requestContext.identity.userAgent", "state.domainName"),
                *("aws.context.clientContext.custom", "wsgi_environ.HTTP_X_USER_ID"),
                *("wsgi_environ.REDIRECT_HTTP_X_USER", "wsgi_environ.QUERY_STRING"),
            )
        ),
        *(
            pytest.param(partial(Environ, key), "holds what a client writes", id=key)
            for key in ("QUERY_STRING", "REDIRECT_HTTP_X_USER", "DOCUMENT_URI", "REMOTE_ADDR")
        ),
        pytest.param(
            lambda: Scope("user", parse=lambda: "x"),  # type: ignore[misc, arg-type]
            "Scope(parse=...) is called with the text",
            id="parse",
        ),
        pytest.param(
            lambda: user_spec(sources=[Environ("REMOTE_USER"), "X-User-ID"]),
            "proven by the server, whatever the client sends, beside Header(name='X-User-ID'",
            id="a header beside",
        ),
        pytest.param(
            lambda: session_spec(sources=[Cookie("sid"), Scope("session")]),
            "of session_id has Cookie(name='sid'), proven by nothing",
            id="a cookie beside",
        ),
        pytest.param(
            lambda: user_spec(sources=[Scope("user"), Header("X-A", verify=str)]),
            "leave one out",
            id="a signature beside",
        ),
    ],
)
def test_a_wrong_source_says_what_to_write(build: Any, said: str) -> None:
    """
    R14: a source that a client writes is none of the server's.
    """
    with pytest.raises(PolicyError) as told:
        build()
    assert said in str(told.value)
