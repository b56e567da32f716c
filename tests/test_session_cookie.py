"""
The session cookie: which session a request has, and what code makes of it.
"""

from __future__ import annotations

import logging
import re
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cookies import (
    BOTH,
    DELETED,
    KEY,
    NAME,
    OLD,
    OTHER,
    OURS,
    POLICY,
    SPEC,
    Act,
    Serve,
    by_asgi,
    by_wsgi,
    cookie,
    set_line,
    signed,
)
from drive import Line, values_of
from idlanyard import (
    UNSET,
    Cookie,
    Header,
    IDSpec,
    Policy,
    PolicyError,
    Provenance,
    Query,
    forget_session_id,
    identify,
    ids,
    new_session_id,
    request_spec,
    rotate_session_id,
    session_spec,
)
from idlanyard._policy.settings import policy_from_settings


@BOTH
def test_a_fresh_session_is_set_and_comes_in_again(serve: Serve) -> None:
    """
    S9: a browser without a cookie gets one of a fresh session, and is not given it again.
    """
    first = serve()
    assert (first.how, first.cookies) == (Provenance.MINTED, [set_line(first.session)])
    assert values_of(first.headers, "x-session-id") == [first.session]
    again = serve([cookie(first.session or "")])
    assert again[:2] == (first.session, Provenance.SIGNED)
    assert again.cookies == []


def test_the_line_is_what_browsers_ask_of_such_a_name() -> None:
    """
    A ``__Host-`` cookie is secure, for all paths, and names no domain; scripts cannot read it.
    """
    (line,) = by_asgi().cookies
    (morsel,) = SimpleCookie(line).values()
    assert (morsel["path"], morsel["secure"], morsel["httponly"]) == ("/", True, True)
    assert (morsel["samesite"], morsel["domain"], morsel["max-age"]) == ("Lax", "", "")


ARRIVALS: dict[str, tuple[list[Line], str | None, bool]] = {
    "nothing": ([], None, True),
    "the cookie": ([cookie(OURS)], OURS, False),
    "the header": ([("X-Session-ID", OURS)], OURS, False),
    "both alike": ([("X-Session-ID", OURS), cookie(OURS)], OURS, False),
    "both, the header differs": ([("X-Session-ID", OTHER), cookie(OURS)], OTHER, False),
    "a header of a stranger": ([("X-Session-ID", "mine"), cookie(OURS)], OURS, False),
    "planted": ([cookie("attacker")], None, True),
    "planted, with our form": ([cookie(ids.token())], None, True),
    "signed with another key": ([cookie(signed("s1", OLD))], None, True),
    "of another name": ([cookie(OURS, "session")], None, True),
    "of another case": ([cookie(OURS, "__host-session")], None, True),
    "in quotes": ([cookie(f'"{OURS}"')], None, True),
    "empty": ([cookie("")], None, True),
    "twice": ([("Cookie", f"{NAME}={OURS}; {NAME}={OTHER}")], None, True),
    "twice alike": ([("Cookie", f"{NAME}={OURS}; {NAME}={OURS}")], None, True),
    "among others": ([("Cookie", f"a=b; {NAME}={OURS}; c=d")], OURS, False),
}


@BOTH
@pytest.mark.parametrize(
    ("lines", "session", "is_set"), [pytest.param(*row, id=name) for name, row in ARRIVALS.items()]
)
def test_only_our_own_session_comes_in(
    serve: Serve, lines: list[Line], session: str | None, is_set: bool
) -> None:
    """
    S9: the header counts before the cookie, and anything that is not ours is replaced.
    """
    answer = serve(lines)
    assert answer.session == session or (session is None and answer.how is Provenance.MINTED)
    assert answer.session not in ("attacker", "mine")
    assert answer.cookies == ([set_line(answer.session)] if is_set else [])


@BOTH
@pytest.mark.parametrize(
    ("site", "method", "is_set"),
    [
        ("cross-site", "POST", False),
        ("cross-site", "PUT", False),
        ("cross-site", "GET", True),
        ("cross-site", "HEAD", True),
        ("same-site", "POST", True),
        ("same-origin", "POST", True),
        ("none", "POST", True),
    ],
)
def test_a_form_of_another_site_does_not_replace_the_session(
    serve: Serve, site: str, method: str, is_set: bool
) -> None:
    """
    S9: a browser that has left its cookie out keeps it, unless code changes the session.
    """
    lines = [("Sec-Fetch-Site", site)]
    fresh = serve(lines, method=method)
    assert fresh.cookies == ([set_line(fresh.session)] if is_set else [])
    known = serve(lines, lambda: identify(user_id="alice"), method=method)
    assert known.cookies == ([set_line(known.session)] if is_set else [])
    rotated = serve(lines, rotate_session_id, method=method)
    assert rotated.cookies == [set_line(rotated.session)]
    assert serve(lines, forget_session_id, method=method).cookies == [DELETED]


@BOTH
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="nothing"),
        pytest.param([cookie(OURS)], id="the cookie"),
        pytest.param([("X-Session-ID", OURS)], id="the header"),
        pytest.param([("X-Session-ID", OTHER), cookie(OURS)], id="both"),
    ],
)
def test_a_rotated_session_replaces_both(serve: Serve, lines: list[Line]) -> None:
    """
    S9: after a login the header and the cookie have the same fresh session, which comes in.
    """
    answer = serve(lines, rotate_session_id)
    assert answer.session not in (OURS, OTHER)
    assert answer.cookies == [set_line(answer.session)]
    assert values_of(answer.headers, "x-session-id") == [answer.session]
    assert serve([cookie(answer.session or "")])[:2] == (answer.session, Provenance.SIGNED)


def rotate_and_return() -> None:
    rotate_session_id()
    identify(session_id=OURS)


def forget_and_change() -> None:
    forget_session_id()
    identify(session_id=OTHER)


CHANGES: dict[str, tuple[Act, list[str]]] = {
    "a user": (lambda: identify(user_id="alice"), []),
    "the same session": (lambda: identify(session_id=OURS), []),
    "another session of ours": (lambda: identify(session_id=OTHER), [set_line(OTHER)]),
    "a session without a signature": (lambda: identify(session_id="chat-42"), []),
    "rotated and back": (rotate_and_return, []),
    "forgotten": (forget_session_id, [DELETED]),
    "unset": (lambda: identify(session_id=UNSET), [DELETED]),
    "forgotten, and another": (forget_and_change, [set_line(OTHER)]),
}


@BOTH
@pytest.mark.parametrize(
    ("act", "cookies"), [pytest.param(*row, id=name) for name, row in CHANGES.items()]
)
def test_a_change_by_code_counts_at_the_response(
    serve: Serve, act: Act, cookies: list[str]
) -> None:
    """
    S9: the cookie follows the session that is in force at the response.
    """
    assert serve([cookie(OURS)], act).cookies == cookies


def test_a_fresh_session_of_code_is_set() -> None:
    """
    ``new_session_id`` makes a session that the cookie can carry.
    """
    answer = by_asgi([cookie(OURS)], lambda: identify(session_id=new_session_id()))
    assert answer.cookies == [set_line(answer.session)]


@BOTH
def test_a_forgotten_session_is_absent(serve: Serve) -> None:
    """
    S9: after a logout the request has no session, and no header says one.
    """
    answer = serve([cookie(OURS)], forget_session_id)
    assert answer[:2] == (None, None)
    assert values_of(answer.headers, "x-session-id") == []
    # A cookie that is copied before stays valid: ending sessions is the registry's.
    assert serve([cookie(OURS)]).session == OURS


def test_a_session_without_a_signature_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: the session that the cookie cannot carry is logged once, without its value.
    """
    with caplog.at_level(logging.WARNING, "idlanyard"):
        for _ in range(2):
            by_asgi([cookie(OURS)], lambda: identify(session_id="chat-42"))
    (record,) = caplog.records
    assert f"the cookie {NAME} stays as it is" in record.getMessage()
    assert "chat-42" not in record.getMessage()


def test_a_key_is_replaced_without_losing_the_cookie() -> None:
    """
    S9: the cookie of the old key comes in and is not set anew.
    """
    policy = Policy(session=session_spec(signed=[KEY, OLD], cookie=NAME))
    old = signed("s1", OLD)
    answer = by_wsgi([cookie(old)], policy=policy)
    assert (answer.session, answer.cookies) == (old, [])


def test_the_cookie_is_a_source_once() -> None:
    """
    It is read last, unless the sources give it another place.
    """
    own = Cookie(NAME)
    assert list(SPEC.sources) == [Header("X-Session-ID"), own]
    first = session_spec(signed=[KEY], cookie=NAME, sources=[own, "X-Session-ID"])
    assert list(first.sources) == [own, Header("X-Session-ID")]
    alone = session_spec(signed=[KEY], cookie=NAME, sources=[own])
    assert by_asgi([("X-Session-ID", OURS)], policy=Policy(session=alone)).session != OURS


VISIBLE = re.compile(r"[!#-+\--:=?-\[\]-~]{1,60}")


@given(st.from_regex(VISIBLE, fullmatch=True))
def test_every_id_fits_into_a_cookie(text: str) -> None:
    """
    No ID has characters that cookies may not carry: each comes in as it went out.
    """
    session = signed(text)
    policy = Policy(session=build(NAME, charset="visible"))
    (line,) = by_asgi((), lambda: identify(session_id=session), policy=policy).cookies
    assert by_asgi([("Cookie", line.partition(";")[0])], policy=policy).session == session


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: session_spec(cookie=NAME), "write signed=[os.environ[", id="unsigned"),
        pytest.param(lambda: build("session"), "write cookie='__Host-session'", id="no prefix"),
        pytest.param(lambda: build("sid"), "write cookie='__Host-sid'", id="no prefix, own name"),
        pytest.param(lambda: build("__Secure-sid"), "cookie='__Host-sid'", id="another prefix"),
        pytest.param(lambda: build("__host-sid"), "cookie='__Host-sid'", id="lower case"),
        pytest.param(lambda: build("__Host-"), "cookie='__Host-session'", id="the prefix alone"),
        pytest.param(lambda: build("__Host-a b"), "cookie='__Host-session'", id="a space"),
        pytest.param(lambda: build("__Host-a;b"), "cookie='__Host-session'", id="a semicolon"),
        pytest.param(lambda: build("__Host-ä"), "cookie='__Host-session'", id="not ASCII"),
        pytest.param(lambda: build("__Host-a\n"), "cookie='__Host-session'", id="a line feed"),
        pytest.param(lambda: build("__Host-" + "a" * 129), "'__Host-session'", id="too long"),
        pytest.param(lambda: build(True), "write cookie='__Host-session'", id="True"),
        pytest.param(lambda: build(""), "write cookie='__Host-session'", id="empty"),
        pytest.param(lambda: build(Cookie("sid")), "cookie='__Host-sid'", id="a source"),
        pytest.param(
            lambda: build(NAME, forward=False), "leave out forward=False", id="not forwarded"
        ),
        pytest.param(
            lambda: build(NAME, accept="proven"), "or write accept='anyone'", id="needs a sender"
        ),
        pytest.param(
            lambda: request_spec(signed=[KEY], cookie=NAME), "for the session alone", id="a request"
        ),
        pytest.param(
            lambda: IDSpec(name="device_id", header="X-Device-ID", cookie=NAME),
            "cookie of device_id is set for the session alone: leave it out",
            id="an ID of one's own",
        ),
        pytest.param(
            lambda: build(NAME, sources=[Header("X-A", verify=str)]),
            "its sources are proven by themselves",
            id="verified",
        ),
    ],
)
def test_a_wrong_cookie_says_what_to_write(build: Any, said: str) -> None:
    """
    R14: the name is checked when the policy is built.
    """
    with pytest.raises(PolicyError) as told:
        build()
    assert said in str(told.value)


SWITCH = {"IDLANYARD_TRUSTED_QUEUE": KEY}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: build(KEY), "write cookie='__Host-session'", id="a cookie"),
        pytest.param(lambda: build(KEY.encode()), "write cookie='__Host-session'", id="bytes"),
        pytest.param(lambda: build([KEY]), "write cookie='__Host-session'", id="a list"),
        pytest.param(lambda: build(Cookie(KEY)), "write cookie='__Host-session'", id="a source"),
        pytest.param(lambda: request_spec(cookie=KEY), "leave it out", id="of a request"),
        pytest.param(
            lambda: policy_from_settings(
                {"SESSION": {"SIGNING_KEYS": [KEY], "COOKIE": KEY}}, written="{}"
            ),
            "write 'COOKIE': '__Host-session'",
            id="a setting",
        ),
        pytest.param(
            lambda: Policy(trusted_queue=KEY),  # type: ignore[arg-type]
            "trusted_queue is True or False",
            id="a switch",
        ),
        pytest.param(lambda: Policy.from_env(SWITCH), "write 'true' or 'false'", id="a variable"),
    ],
)
def test_a_key_in_the_wrong_option_is_not_repeated(build: Any, said: str) -> None:
    """
    S19: neither the message nor the error has a key that was given for a name or a switch.
    """
    with pytest.raises(PolicyError, match=r"too long to be shown|leave it out") as told:
        build()
    assert said in str(told.value)
    for found in (str(told.value), repr(told.value), repr(vars(told.value))):
        assert KEY not in found


def build(name: Any, **changes: Any) -> IDSpec:
    """
    Return the rules of a session with a cookie of this name.
    """
    return session_spec(signed=[KEY], cookie=name, **changes)


def test_the_policy_says_that_it_sets_a_cookie() -> None:
    """
    R6: ``explain`` names the cookie, and no key.
    """
    line, *_ = POLICY.explain().splitlines()
    assert line == (
        f"session_id: X-Session-ID or the cookie {NAME}, only with a signature of this service "
        f"(signed); minted where it is absent; a fresh one is set as the cookie {NAME}."
    )


def test_the_settings_of_frameworks_have_it() -> None:
    """
    Django's and Flask's settings name it in capitals, and their error does as well.
    """
    rules = {"SIGNING_KEYS": [KEY], "COOKIE": NAME}
    policy = policy_from_settings({"SESSION": rules}, written="IDLANYARD['{}']")
    assert len(by_wsgi(policy=policy).cookies) == 1
    with pytest.raises(PolicyError) as told:
        policy_from_settings({"SESSION": rules | {"COOKIE": "sid"}}, written="IDLANYARD['{}']")
    assert "write 'COOKIE': '__Host-sid'" in str(told.value)


def test_other_sources_may_stand_beside() -> None:
    """
    A parameter of the query string needs the signature as well.
    """
    spec = session_spec(signed=[KEY], cookie=NAME, sources=["X-Session-ID", Query("session")])
    assert spec.sources[-1] == Cookie(NAME)
