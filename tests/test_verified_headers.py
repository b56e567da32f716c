"""
Headers whose ID is verified: proven by themselves, whoever sends them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from drive import (
    PROXY,
    STRANGER,
    Line,
    ask_asgi,
    ask_asgi_at_once,
    ask_wsgi,
    environ_of,
    http_scope,
)
from idlanyard import (
    Cookie,
    Header,
    Policy,
    PolicyError,
    asgi,
    get_session_context,
    require,
    session_spec,
    subscribe,
    user_spec,
    wsgi,
)
from idlanyard._decision import claims, compiled_spec, resolve, trust
from idlanyard.ids import Provenance

GOOD = "alice.signed"


def verify(line: str) -> str | None:
    """
    Return the name that is signed, as the verification of a signature would.
    """
    name, dot, signature = line.removeprefix("Bearer ").partition(".")
    return name if dot and signature == "signed" else None


def no_argument() -> str:
    """
    Return a name without a look at any line.
    """
    return "alice"


class Seen(NamedTuple):
    """
    The user as an application sees it, its headers, and the reasons for which IDs were dropped.
    """

    user: str | None
    provenance: Provenance | None
    headers: dict[str, str]
    reasons: list[str | None]


def serve(policy: Policy, lines: list[Line], peer: str = STRANGER) -> Seen:
    """
    Return the same that applications of both protocols see.
    """
    found: list[Seen] = []
    reasons: list[str | None] = []

    def note(headers: dict[str, str]) -> None:
        context = get_session_context()
        ids = {name: value for name, value in headers.items() if name != "x-session-id"}
        found.append(Seen(context.user_id, context.provenance("user_id"), ids, [*reasons]))
        reasons.clear()

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        note({name.decode(): value.decode() for name, value in scope["headers"]})

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        note(
            {
                name[5:].lower().replace("_", "-"): value
                for name, value in environ.items()
                if name.startswith("HTTP_")
            }
        )
        start_response("200 OK", [])
        return []

    undo = subscribe("reject", lambda event: reasons.append(event.reason))
    try:
        scope = http_scope(lines, peer=peer)
        ask_asgi_at_once(asgi.SessionContextMiddleware(asgi_app, policy), scope)
        environ = environ_of(lines, peer=peer, SERVER_SOFTWARE="gunicorn/23.0.0")
        ask_wsgi(wsgi.SessionContextMiddleware(wsgi_app, policy), environ)
    finally:
        undo()
    by_asgi, by_wsgi = found
    assert by_asgi == by_wsgi
    return by_asgi


def policy_of(name: str, **options: Any) -> Policy:
    """
    Return a policy that reads the user out of one verified header.
    """
    peers = options.pop("trusted_peers", ())
    source = Header(name, verify=verify, **options)
    return Policy(user=user_spec(sources=[source]), trusted_peers=peers)


@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["stranger", "trusted"])
@pytest.mark.parametrize("name", ["X-Signed-User", "Authorization"])
def test_a_verified_header_is_believed_from_anyone(name: str, peer: str) -> None:
    """
    S1: a signature is a proof of its own, and the header stays for whoever reads it besides.
    """
    policy = policy_of(name, trusted_peers=[PROXY])
    seen = serve(policy, [(name, GOOD)], peer)
    headers = {name.lower(): GOOD, "x-user-id": "alice"}
    assert seen == Seen("alice", Provenance.SIGNED, headers, [])


def test_a_signed_line_in_the_header_of_the_id_becomes_the_id() -> None:
    """
    The application reads the ID in the header, and not the signed line.
    """
    seen = serve(policy_of("X-User-ID"), [("X-User-ID", GOOD)])
    assert seen == Seen("alice", Provenance.SIGNED, {"x-user-id": "alice"}, [])


def test_a_verified_user_satisfies_a_demand_for_proof() -> None:
    """
    ``require(proven=True)`` returns an ID that a header verifies.
    """
    users: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        users.append(require("user_id", proven=True))

    door = asgi.SessionContextMiddleware(app, policy_of("X-Signed-User"))
    ask_asgi_at_once(door, http_scope([("X-Signed-User", GOOD)]))
    assert users == ["alice"]


@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["stranger", "trusted"])
@pytest.mark.parametrize("line", ["alice", "alice.forged", "é", "a" * 10_000, "\x00"])
def test_what_is_not_verified_is_absent_and_leaves_the_request(line: str, peer: str) -> None:
    """
    S1, S23: no peer makes up for a signature that is wrong.
    """
    policy = policy_of("X-Signed-User", trusted_peers=[PROXY])
    seen = serve(policy, [("X-Signed-User", line)], peer)
    assert seen == Seen(None, None, {}, [compiled_spec.NOT_VERIFIED])


def test_a_token_that_is_not_verified_stays_for_its_other_readers() -> None:
    """
    ``Authorization`` stays whatever it holds; only the ID is dropped.
    """
    seen = serve(policy_of("Authorization"), [("Authorization", "Basic eA==")])
    assert seen == Seen(None, None, {"authorization": "Basic eA=="}, [compiled_spec.NOT_VERIFIED])


@pytest.mark.parametrize("peer", [STRANGER, PROXY], ids=["stranger", "trusted"])
def test_the_plain_header_of_a_verified_id_is_nothing(peer: str) -> None:
    """
    S1: where a signature is asked for, the word of a trusted proxy is dropped as well, and told of.
    """
    policy = policy_of("X-Signed-User", trusted_peers=[PROXY])
    seen = serve(policy, [("X-User-ID", "mallory")], peer)
    assert seen == Seen(None, None, {}, [compiled_spec.NOT_VERIFIED])


def test_the_plain_header_beside_a_verified_one_is_replaced() -> None:
    """
    S1: the application never sees the copy that nobody signed.
    """
    lines = [("X-User-ID", "mallory"), ("X-Signed-User", GOOD)]
    seen = serve(policy_of("X-Signed-User"), lines)
    assert seen.user == "alice"
    assert seen.headers == {"x-signed-user": GOOD, "x-user-id": "alice"}
    assert seen.reasons == [compiled_spec.NOT_VERIFIED]


def test_the_plain_header_may_say_the_same() -> None:
    """
    A sender writes both headers for services that do not verify: nothing is dropped then.
    """
    lines = [("X-User-ID", "alice"), ("X-Signed-User", GOOD)]
    assert serve(policy_of("X-Signed-User"), lines).reasons == []


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        pytest.param(("Connection", "X-Signed-User"), claims.NAMED_BY_CONNECTION, id="connection"),
        pytest.param(("X-Signed-User", GOOD), None, id="twice"),
    ],
)
def test_a_verified_header_that_cannot_be_taken_for_one_line_is_nothing(
    beside: Line, reason: str | None
) -> None:
    """
    S4, S5: a signature does not help a header that is there twice, or that ``Connection`` names.
    """
    seen = serve_asgi_alone(policy_of("X-Signed-User"), [("X-Signed-User", GOOD), beside])
    assert seen == (None, [reason or claims.REPEATED])


def serve_asgi_alone(policy: Policy, lines: list[Line]) -> tuple[str | None, list[str | None]]:
    """
    Return the user and the reasons where the protocols' servers differ.
    """
    users: list[str | None] = []
    reasons: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        users.append(get_session_context().user_id)
        assert b"x-signed-user" not in dict(scope["headers"])

    undo = subscribe("reject", lambda event: reasons.append(event.reason))
    ask_asgi_at_once(asgi.SessionContextMiddleware(app, policy), http_scope(lines))
    undo()
    return users[0], reasons


def of(issuer: str) -> Header:
    """
    Return a source that verifies what one of several issuers has signed.
    """
    start = f"{issuer} "
    return Header(
        "X-Signed-User",
        verify=lambda line: verify(line[len(start) :]) if line.startswith(start) else None,
    )


@pytest.mark.parametrize("line", ["one alice.signed", "two alice.signed"])
@pytest.mark.parametrize("on_invalid", ["drop", "reject"])
def test_one_of_several_issuers_is_enough(line: str, on_invalid: Any) -> None:
    """
    A line that the first source does not verify is no fault if the second one does.
    """
    policy = Policy(user=user_spec(sources=[of("one"), of("two")], on_invalid=on_invalid))
    seen = serve(policy, [("X-Signed-User", line)])
    assert (seen.user, seen.reasons) == ("alice", [])


def test_a_line_that_no_issuer_signed_is_one_fault(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is told of once, with the name of the header once, and refused where that is asked for.
    """
    sources = [of("one"), of("two")]
    seen = serve(Policy(user=user_spec(sources=sources)), [("X-Signed-User", "three a.signed")])
    assert seen.reasons == [compiled_spec.NOT_VERIFIED]
    assert "only X-Signed-User is believed" in caplog.text
    strict = Policy(user=user_spec(sources=sources, on_invalid="reject"))
    answer = ask_wsgi(
        wsgi.SessionContextMiddleware(lambda environ, start: [], strict),
        environ_of([("X-Signed-User", "three a.signed")]),
    )
    assert answer.status.startswith("400")


def test_a_value_that_is_signed_passes_the_check_of_the_id() -> None:
    """
    S6: a signature does not make a value an ID.
    """
    seen = serve(policy_of("X-Signed-User"), [("X-Signed-User", "a b.signed")])
    assert seen == Seen(None, None, {}, ["character not allowed"])


@pytest.mark.parametrize(
    "verify",
    [
        pytest.param(lambda line: 1 / 0, id="raises"),
        pytest.param(lambda line: 42, id="returns a number"),
        pytest.param(lambda line: b"alice", id="returns bytes"),
    ],
)
@pytest.mark.parametrize("option", ["verify", "parse"])
def test_a_function_that_fails_is_absence(
    option: str, verify: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: a function that raises, or returns something else than text, fails no request.
    """
    source = Header("X-Signed-User", **{option: verify})
    policy = Policy(user=user_spec(sources=[source]), trusted_peers=[PROXY])
    seen = serve(policy, [("X-Signed-User", GOOD)], PROXY)
    failed = {"verify": resolve.VERIFY_FAILED, "parse": resolve.PARSE_FAILED}[option]
    assert seen == Seen(None, None, {}, [failed])
    assert f"{option} of X-Signed-User failed" in caplog.text


@pytest.mark.parametrize("line", [GOOD, "alice.forged", None], ids=["good", "forged", "none"])
def test_siblings_leave_every_request(line: str | None) -> None:
    """
    S23: the unsigned copies that a proxy sends beside its assertion never reach the application,
    in no spelling.
    """
    policy = policy_of("X-Signed-User", siblings=("X-Proxy-Email", "X-Proxy-ID"))
    lines = [("X-Proxy-Email", "mallory@example.com"), ("X_Proxy_ID", "mallory"), ("X-Other", "x")]
    lines += [] if line is None else [("X-Signed-User", line)]
    seen = serve(policy, lines)
    assert seen.user == ("alice" if line == GOOD else None)
    assert not [name for name in seen.headers if name.replace("_", "-").startswith("x-proxy")]
    assert seen.headers["x-other"] == "x"


def test_siblings_leave_a_request_for_an_excluded_path() -> None:
    """
    S24: an excluded path is sanitised like any other.
    """
    source = Header("X-Signed-User", verify=verify, siblings=("X-Proxy-Email",))
    policy = Policy(user=user_spec(sources=[source]), exclude=["/"])
    assert serve(policy, [("X-Proxy-Email", "mallory"), ("X-Signed-User", GOOD)]).headers == {}


def test_a_sibling_may_be_the_header_of_the_id() -> None:
    """
    The ID's own header shows the verified value, also where a proxy writes an unsigned one.
    """
    source = Header("X-Signed-User", verify=verify, siblings=("X-User-ID",))
    policy = Policy(user=user_spec(sources=[source]))
    seen = serve(policy, [("X-User-ID", "mallory"), ("X-Signed-User", GOOD)])
    assert (seen.user, seen.headers["x-user-id"]) == ("alice", "alice")


@pytest.mark.parametrize(
    "siblings",
    [("X-Proxy-Email", "X_Proxy_Email"), ("X_User_ID",), ("x-proxy-email", "X-PROXY-EMAIL")],
    ids=["two spellings", "an alias of the ID", "two cases"],
)
def test_a_sibling_may_be_spelled_in_any_way(siblings: tuple[str, ...]) -> None:
    """
    All spellings of a sibling leave the request, whichever was named.
    """
    policy = policy_of("X-Signed-User", siblings=siblings)
    lines = [("X-Proxy-Email", "mallory"), ("X-Signed-User", GOOD)]
    seen = serve(policy, lines)
    assert seen.user == "alice"
    assert ("x-proxy-email" in seen.headers) is (siblings == ("X_User_ID",))


@pytest.mark.parametrize(
    ("peers", "peer", "user", "reasons"),
    [
        pytest.param([PROXY], PROXY, "alice", [], id="trusted"),
        pytest.param([PROXY], STRANGER, None, [trust.STRANGER], id="stranger"),
        pytest.param([], PROXY, None, [trust.NOBODY], id="nobody is trusted"),
    ],
)
def test_a_header_may_need_a_trusted_peer_besides(
    peers: list[str], peer: str, user: str | None, reasons: list[str]
) -> None:
    """
    S23: with ``peers_too`` a signature alone is not enough, since others have the same key.
    """
    policy = policy_of("X-Signed-User", peers_too=True, trusted_peers=peers)
    seen = serve(policy, [("X-Signed-User", GOOD)], peer)
    assert (seen.user, seen.reasons) == (user, reasons)
    assert seen.provenance is (Provenance.SIGNED if user else None)


def nested(outer: Policy, inner: Policy, line: tuple[str, str]) -> str | None:
    """
    Return the header of the user that an application below two middlewares sees.
    """
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shown = dict(scope["headers"]).get(b"x-user-id")
        seen.append(None if shown is None else shown.decode())

    door = asgi.SessionContextMiddleware(asgi.SessionContextMiddleware(app, inner), outer)
    sent = ask_asgi(door, http_scope([line], peer=PROXY))
    return seen[0] if seen else str(sent[0]["status"])


NESTED = {
    "the word of a proxy": (Policy(trusted_peers=[PROXY]), ("X-User-ID", "mallory"), None, "401"),
    "a signature": (policy_of("X-Signed-User"), ("X-Signed-User", GOOD), "alice", "alice"),
}


@pytest.mark.parametrize("case", NESTED)
@pytest.mark.parametrize("required", [False, True], ids=["optional", "required"])
def test_a_nested_demand_for_a_signature_is_met_by_one_alone(case: str, required: bool) -> None:
    """
    S1: what a middleware outside believes from a proxy is not signed for the one inside.
    """
    outer, line, user, refused = NESTED[case]
    source = Header("X-Signed-User", verify=verify)
    inner = Policy(user=user_spec(sources=[source], required=required))
    assert nested(outer, inner, line) == (refused if required else user)


def test_a_function_that_fails_does_not_log_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """
    S8: the text of an error may quote a token, so only its kind is logged.
    """

    def fail(line: str) -> str:
        raise ValueError(f"cannot read {line}")

    policy = Policy(user=user_spec(sources=[Header("X-Signed-User", verify=fail)]))
    serve(policy, [("X-Signed-User", "s3cret-token")])
    assert "ValueError, whose text is not logged" in caplog.text
    assert "s3cret-token" not in caplog.text


def test_a_coroutine_is_no_id(caplog: pytest.LogCaptureFixture) -> None:
    """
    R14: a function that returns a coroutine fails no request, and leaves none behind.
    """

    async def later() -> str:
        return "alice"

    source = Header("X-Signed-User", verify=lambda line: later())
    seen = serve(Policy(user=user_spec(sources=[source])), [("X-Signed-User", GOOD)])
    assert seen.reasons == [resolve.VERIFY_FAILED]
    assert "it returned a coroutine, for which nobody waits" in caplog.text


def test_a_signed_session_is_signed() -> None:
    """
    An ID that anyone may set is ``SIGNED`` as well if its source verifies it, else minted.
    """
    policy = Policy(session=session_spec(sources=[Header("X-Signed", verify=verify)]))
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context = get_session_context()
        found.append((context.session_id == "alice", context.provenance("session_id")))
        found.append(dict(scope["headers"]).get(b"x-signed"))

    door = asgi.SessionContextMiddleware(app, policy)
    ask_asgi_at_once(door, http_scope([("X-Signed", GOOD)]))
    ask_asgi_at_once(door, http_scope([("X-Signed", "alice.forged")]))
    assert found == [(True, "signed"), GOOD.encode(), (False, "minted"), None]


@pytest.mark.parametrize(
    ("server", "user"), [("gunicorn/23.0.0", "alice"), ("Cheroot/11", "alice")]
)
def test_a_server_that_conflates_spellings_cannot_forge_a_signature(server: str, user: str) -> None:
    """
    S3: a signature holds on a server that takes ``X_User`` for ``X-User``.
    """
    users: list[str | None] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        users.append(get_session_context().user_id)
        start_response("200 OK", [])
        return []

    environ = environ_of([("X-Signed-User", GOOD)], SERVER_SOFTWARE=server)
    ask_wsgi(wsgi.SessionContextMiddleware(app, policy_of("X-Signed-User")), environ)
    assert users == [user]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(
            lambda: user_spec(sources=[Header("X-A", verify=verify), "X-B"]),
            "proven by a header, which is as good as its sender: leave one out",
            id="a plain header beside",
        ),
        pytest.param(
            lambda: session_spec(sources=[Header("X-A", verify=verify), Cookie("sid")]),
            "beside Cookie(name='sid'), proven by nothing: leave one out",
            id="a cookie beside",
        ),
        pytest.param(
            lambda: Header("X-A", parse=verify, verify=verify),
            "reads the line twice: let verify return the ID",
            id="parse and verify",
        ),
        pytest.param(
            lambda: Header("X-A", verify=no_argument),  # type: ignore[arg-type]
            "is called with the line",
            id="no argument",
        ),
        pytest.param(
            lambda: Header("X-A", siblings="X-B"),  # type: ignore[arg-type]
            "is a list: write siblings=['X-B']",
            id="siblings as text",
        ),
        pytest.param(
            lambda: Header("X-A", siblings=None),  # type: ignore[arg-type]
            "is a list: write siblings=['X-Proxy-Email']",
            id="no siblings",
        ),
        pytest.param(
            lambda: Header("X-A", peers_too=True),
            "leave it out without verify",
            id="peers without a signature",
        ),
        pytest.param(
            lambda: Header("X-A", verify=verify, peers_too="no"),  # type: ignore[arg-type]
            "is True or False, not 'no'",
            id="peers as text",
        ),
        pytest.param(
            lambda: Policy(
                user=user_spec(sources=[Header("X-A", verify=verify, siblings=("x_tenant_id",))])
            ),
            "has 'x_tenant_id', the header of tenant_id",
            id="a sibling of another ID",
        ),
        pytest.param(
            lambda: Policy(
                user=user_spec(sources=[Header("X-A", verify=verify, siblings=("X-Proof",))]),
                shared_secret=("X-Proof", "s" * 32),
            ),
            "has 'X-Proof', the header of shared_secret",
            id="a sibling of the secret",
        ),
        pytest.param(
            lambda: Header("X-A", siblings=("Authorization",)),
            "has 'Authorization', which has a meaning of its own",
            id="a sibling of others",
        ),
    ],
)
def test_a_wrong_header_says_what_to_write(build: Any, said: str) -> None:
    """
    R14: a wrong option is a ``PolicyError`` when the policy is built.
    """
    with pytest.raises(PolicyError) as told:
        build()
    assert said in str(told.value)


def test_a_signed_header_names_itself_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """
    The warning names the header that would be believed, once, and never the value.
    """
    for _ in range(3):
        serve(policy_of("X-Signed-User"), [("X-User-ID", "mallory")])
    assert "user_id: value dropped, no signature proves it: only X-Signed-User is" in caplog.text
    assert "mallory" not in caplog.text
