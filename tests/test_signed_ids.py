"""
IDs with a signature: only those that the service has minted come in again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive import PROXY, ask_asgi, ask_wsgi, environ_of, http_scope, pairs_of, values_of
from idlanyard import (
    Cookie,
    Header,
    IDSpec,
    Policy,
    PolicyError,
    Provenance,
    asgi,
    dump,
    get_session_context,
    get_session_id,
    identify,
    ids,
    new_session_id,
    rotate_session_id,
    session_spec,
    use_policy,
    user_spec,
    wsgi,
)
from idlanyard._policy.keys import Signatures
from idlanyard._policy.settings import policy_from_settings
from idlanyard.integrations.custom import show_current_ids
from idlanyard.integrations.logging import SessionContextFilter
from idlanyard.integrations.logging import install as install_logging

NEW, OLD = "n" * 32, "o" * 32
STRICT = Policy(session=session_spec(signed=[NEW]))
Serve: TypeAlias = Callable[..., tuple[str, Provenance | None, str]]


def serve_asgi(
    policy: Policy, session: str | None, act: Callable[[], object] = get_session_context
) -> tuple[str, Provenance | None, str]:
    """
    Return the session of a request, its provenance, and the session on the response.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        act()
        context = get_session_context()
        seen.extend([context.session_id, context.provenance("session_id")])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    lines = [] if session is None else [("X-Session-ID", session)]
    start, _ = ask_asgi(asgi.SessionContextMiddleware(app, policy), http_scope(lines))
    (echoed,) = values_of(pairs_of(start), "x-session-id")
    return seen[0], seen[1], echoed


def serve_wsgi(
    policy: Policy, session: str | None, act: Callable[[], object] = get_session_context
) -> tuple[str, Provenance | None, str]:
    """
    Return the same of a WSGI application.
    """
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        act()
        context = get_session_context()
        seen.extend([context.session_id, context.provenance("session_id")])
        start_response("200 OK", [])
        return []

    lines = [] if session is None else [("X-Session-ID", session)]
    response = ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ_of(lines))
    (echoed,) = values_of(response.headers, "x-session-id")
    return seen[0], seen[1], echoed


BOTH = pytest.mark.parametrize("serve", [serve_asgi, serve_wsgi], ids=["asgi", "wsgi"])


@BOTH
def test_an_id_that_was_minted_here_comes_in_again(serve: Serve) -> None:
    """
    S9: a fresh session has a signature, is echoed, and is the same in the next request.
    """
    first, how, echoed = serve(STRICT, None)
    assert (how, echoed) == (Provenance.MINTED, first)
    assert serve(STRICT, first) == (first, Provenance.SIGNED, first)


def signed(name: str = "session_id", key: str = NEW, value: str = "s1") -> str:
    """
    Return an ID with a signature.
    """
    return Signatures(name, [key.encode()]).sign(value)


@BOTH
@pytest.mark.parametrize(
    "session",
    [
        pytest.param("attacker", id="chosen by a client"),
        pytest.param(ids.token(), id="looks like ours"),
        pytest.param(signed(key=OLD), id="signed with another key"),
        pytest.param(signed(name="user_id"), id="signed as another ID"),
        pytest.param(signed()[:-1], id="truncated"),
        pytest.param(signed() + "0", id="extended"),
        pytest.param(signed().upper(), id="in capitals"),
        pytest.param("s2" + signed()[2:], id="another ID with its signature"),
        pytest.param(signed().replace(".", "..", 1), id="a dot more"),
        pytest.param(signed()[2:], id="the signature alone"),
        pytest.param("a" * 300, id="too long"),
        pytest.param("a b", id="a character that is not allowed"),
        pytest.param("", id="empty"),
    ],
)
def test_an_id_that_was_not_minted_here_is_replaced(serve: Serve, session: str) -> None:
    """
    S9: a session that a client chose, or got elsewhere, is never the session of a request.
    """
    found, how, echoed = serve(STRICT, session)
    assert (how, echoed) == (Provenance.MINTED, found)
    assert session not in (found, echoed)


@BOTH
def test_a_key_is_replaced_without_losing_sessions(serve: Serve) -> None:
    """
    The first key signs, each key is accepted, and one that is dropped is not.
    """
    old = Policy(session=session_spec(signed=[OLD]))
    both = Policy(session=session_spec(signed=[NEW, OLD]))
    session, _, _ = serve(old, None)
    assert serve(both, session) == (session, Provenance.SIGNED, session)
    fresh, _, _ = serve(both, None)
    assert serve(STRICT, fresh)[0] == fresh
    assert serve(old, fresh)[0] != fresh
    assert serve(STRICT, session)[0] != session


@BOTH
def test_a_rotated_session_has_a_signature(serve: Serve) -> None:
    """
    S9: the session after a login is a fresh one that comes in again, not that of before.
    """
    before, _, _ = serve(STRICT, None)
    after, _, echoed = serve(STRICT, before, rotate_session_id)
    assert after == echoed != before
    assert serve(STRICT, after) == (after, Provenance.SIGNED, after)


@BOTH
def test_an_id_that_code_sets_is_echoed_as_it_is(serve: Serve) -> None:
    """
    S26: code may set any ID, which is in force and on the response.
    """
    found = serve(STRICT, None, lambda: identify(session_id="mine"))
    assert found == ("mine", Provenance.CODE, "mine")


@BOTH
def test_a_generator_of_ones_own_is_signed(serve: Serve) -> None:
    """
    What ``mint`` makes gets a signature as well, and so does what replaces it if it fails.
    """
    made = iter(["first", "first", "a b", "a b"])
    policy = Policy(session=session_spec(signed=[NEW], mint=lambda: next(made)))
    session, _, _ = serve(policy, None)
    assert session == signed(value="first")
    spare, _, _ = serve(policy, None)
    assert serve(policy, spare) == (spare, Provenance.SIGNED, spare)


def test_a_fresh_session_outside_requests_is_signed() -> None:
    """
    ``new_session_id`` makes a session that a client may send.
    """
    undo = use_policy(STRICT)
    session = new_session_id()
    undo()
    assert serve_asgi(STRICT, session)[:2] == (session, Provenance.SIGNED)


def test_other_sources_need_the_signature_as_well() -> None:
    """
    S9: a cookie is no way around it.
    """
    policy = Policy(session=session_spec(signed=[NEW], sources=[Cookie("sid")]))
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_context().session_id)

    door = asgi.SessionContextMiddleware(app, policy)
    for session in (signed(), "s1"):
        ask_asgi(door, http_scope([("Cookie", f"sid={session}")]))
    assert seen[0] == signed()
    assert seen[1] != "s1"


def test_a_refusal_says_what_to_do_and_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: the reason is logged once, with the option and without the session.
    """
    with caplog.at_level(logging.WARNING, "idlanyard"):
        serve_asgi(STRICT, "attacker")
    (record,) = caplog.records
    assert "session_spec(signed=...) accepts only IDs with a signature" in record.getMessage()
    assert "attacker" not in record.getMessage()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: session_spec(signed=["short"]), "at least 32 bytes", id="short"),
        pytest.param(lambda: session_spec(signed=[""]), "is the variable set?", id="empty"),
        pytest.param(lambda: session_spec(signed=[NEW + "\n"]), "key.strip()", id="line feed"),
        pytest.param(
            lambda: session_spec(signed=NEW),
            "is a list of keys, the new one first, and not empty: write signed=[os.environ[",
            id="text",
        ),
        pytest.param(lambda: session_spec(signed=[]), "and not empty", id="no keys"),
        pytest.param(
            lambda: user_spec(signed=[NEW]), "nothing mints it: write mint=ids.token", id="no mint"
        ),
        pytest.param(
            lambda: session_spec(signed=[NEW], sources=[Header("X-A", verify=str)]),
            "its sources are proven by themselves: leave one of them out",
            id="verify",
        ),
        pytest.param(
            lambda: session_spec(signed=[NEW], max_length=40), "too long", id="no room for it"
        ),
    ],
)
def test_wrong_keys_say_what_to_write(build: Any, said: str) -> None:
    """
    R14: keys are checked when the policy is built, and no message repeats one.
    """
    with pytest.raises(PolicyError) as told:
        build()
    assert said in str(told.value)
    assert NEW not in str(told.value)


def test_keys_are_in_no_repr() -> None:
    """
    The rules can be printed without a secret, compared, and kept in a set.
    """
    assert NEW not in repr(STRICT)
    assert Policy(session=session_spec(signed=[NEW])) == STRICT
    assert len({STRICT, Policy(session=session_spec(signed=[NEW.encode()]))}) == 1


@pytest.mark.parametrize(
    "give",
    [
        pytest.param(lambda: Policy(session={"signed": [NEW]}), id="a mapping as rules"),  # type: ignore[arg-type]
        pytest.param(lambda: Policy(session_signed=[NEW]), id="an option of another"),  # type: ignore[call-arg]
        pytest.param(lambda: Policy(session_signed=NEW), id="an option of another, as text"),  # type: ignore[call-arg]
        pytest.param(
            lambda: asgi.SessionContextMiddleware(serve_asgi, session_signed=[NEW]),  # type: ignore[call-arg, arg-type]
            id="an option of the middleware",
        ),
        pytest.param(
            lambda: from_settings({"EXTRA": {"NAME": "device_id", "SIGNED": [NEW]}}),
            id="a further ID that is no list",
        ),
        pytest.param(
            lambda: from_settings({"EXTRA": [{"SIGNING_KEYS": [NEW]}]}),
            id="a further ID without a name",
        ),
    ],
)
def test_no_error_has_a_key(give: Any) -> None:
    """
    A key in the wrong place is in no message, and in no evidence of the error.
    """
    with pytest.raises((PolicyError, TypeError)) as told:
        give()
    assert NEW not in f"{told.value} {vars(told.value)}"


@pytest.mark.parametrize("name", ["SIGNED", "SIGNING_KEYS"])
def test_settings_have_a_name_that_is_kept_out_of_error_pages(name: str) -> None:
    """
    Django hides a setting with KEY in its name; the option's own name works as well.
    """
    policy = from_settings({"SESSION": {name: [NEW]}})
    assert serve_asgi(policy, None)[1] is Provenance.MINTED
    assert serve_asgi(policy, signed())[1] is Provenance.SIGNED


def from_settings(settings: Any) -> Policy:
    """
    Return the policy of settings like Django's.
    """
    return policy_from_settings(settings, written="IDLANYARD['{}']")


@BOTH
def test_an_id_that_grows_too_long_is_replaced(serve: Serve) -> None:
    """
    S6: a signature counts for the length, so that what is minted comes in again.
    """
    made = iter(["first", "a" * 230])
    policy = Policy(session=session_spec(signed=[NEW], mint=lambda: next(made)))
    session, _, _ = serve(policy, None)
    assert len(session) == 65
    assert serve(policy, session)[0] == session


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(signed("s1"), "s1", id="signed"),
        pytest.param(signed("s1", OLD), "s1", id="by another key"),
        pytest.param("a.b", "a.b", id="set by code"),
        pytest.param("s1", "s1", id="unsigned"),
    ],
)
@pytest.mark.parametrize("is_fast", [False, True], ids=["filter", "factory"])
def test_logs_and_spans_have_no_signature(value: str, shown: str, is_fast: bool) -> None:
    """
    S9: who reads a log line or a span cannot send the session; the application has it whole.
    """
    plain = {"session_id": shown}

    def look() -> None:
        identify(session_id=value)
        assert (get_session_id(), dump()["session_id"][0]) == (value, value)
        assert get_session_context().as_dict() == {"session_id": value}
        assert get_session_context().as_attributes() == {"session.id": shown}
        assert repr(get_session_context()) == f"SessionContext(session_id={shown!r})"
        assert show_current_ids("log") == show_current_ids("span")
        assert show_current_ids("log") | plain == show_current_ids("log")
        make = logging.getLogRecordFactory()
        for _ in range(2):
            record = make("app", logging.INFO, __file__, 1, "said", (), None)
            assert is_fast or SessionContextFilter().filter(record)
            assert record.__dict__["session_id"] == shown

    undo = install_logging() if is_fast else lambda: None
    try:
        serve_asgi(STRICT, None, look)
    finally:
        undo()


def test_an_id_that_needs_no_signature_is_shown_whole() -> None:
    """
    Only where sessions are signed is anything taken from the end of one.
    """
    value = signed("s1")
    seen: list[str] = []
    serve_asgi(Policy(), value, lambda: seen.append(repr(get_session_context())))
    assert seen == [f"SessionContext(session_id={value!r})"]


def test_a_nested_demand_for_a_signature_needs_one() -> None:
    """
    S9: a session that a middleware outside takes from a client is none of the one inside.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]).get(b"x-session-id"))

    inner = asgi.SessionContextMiddleware(app, STRICT)
    door = asgi.SessionContextMiddleware(inner, Policy())
    for session in ("attacker", None):
        ask_asgi(door, http_scope([] if session is None else [("X-Session-ID", session)]))
    assert seen[0] is None
    assert seen[1] is not None


def test_an_id_of_ones_own_that_needs_proof_needs_both() -> None:
    """
    A signature proves who minted an ID; ``accept="proven"`` asks besides who sends it.
    """
    rules = IDSpec(name="device_id", header="X-Device-ID", mint=ids.token, signed=[NEW])
    policy = Policy(extra=[rules], trusted_peers=[PROXY])
    device = signed(name="device_id")
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_context().get("device_id"))

    door = asgi.SessionContextMiddleware(app, policy)
    for peer in (PROXY, "203.0.113.9"):
        ask_asgi(door, http_scope([("X-Device-ID", device)], peer=peer))
    assert seen[0] == device
    assert seen[1] != device


@given(st.text())
def test_no_text_is_signed_by_accident(text: str) -> None:
    """
    Whatever a client sends, only what was signed has a signature.
    """
    signatures = Signatures("session_id", [NEW.encode()])
    assert not signatures.is_signed(text)
    assert not signatures.is_signed(f"{text}.{'0' * 32}")
    assert signatures.is_signed(signatures.sign(f"a{text}")) is True
