"""
The session cookie: which responses set it or delete it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cookies import (
    BOTH,
    DELETED,
    KEY,
    NAME,
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
from drive import (
    Line,
    ask_asgi,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    values_of,
    websocket_scope,
)
from idlanyard import (
    Admission,
    Policy,
    Provenance,
    asgi,
    forget_session_id,
    get_session_context,
    identify,
    request_spec,
    rotate_session_id,
    session_spec,
    user_spec,
    wsgi,
)
from idlanyard._binding.state import RequestIDs
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import WSGI

PAGE = Path(__file__).parents[1].joinpath("docs", "session_cookie.md").read_text(encoding="utf-8")

ROWS = re.findall(r"^\| (`\d{3}`.*?) \| (yes|no) \| (.*?) ?\|$", PAGE, re.MULTILINE)
PUBLIC = [("Cache-Control", "public")]
EXPIRED = "Thu, 01 Jan 1970 00:00:00 GMT"


@BOTH
@pytest.mark.parametrize("act", [get_session_context, rotate_session_id, forget_session_id])
@pytest.mark.parametrize("echo", [True, False, "always"], ids=["echo", "no echo", "always"])
@pytest.mark.parametrize(("response", "is_set", "control"), ROWS)
def test_each_row_of_the_page_is_so(
    serve: Serve, response: str, is_set: str, control: str, echo: Any, act: Act
) -> None:
    """
    S11: no response that may be shared sets the cookie or deletes it, however IDs are echoed.
    """
    status, *headers = re.findall(r"`([^`]+)`", response)
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in headers)]
    policy = Policy(session=session_spec(signed=[KEY], cookie=NAME, echo=echo))
    answer = serve((), act, policy=policy, status=int(status), headers=pairs)
    assert len(answer.cookies) == (1 if is_set == "yes" else 0)
    assert values_of(answer.headers, "cache-control") == re.findall(r"`([^`]+)`", control)


@BOTH
def test_the_line_of_the_page_is_the_one_that_is_sent(serve: Serve) -> None:
    """
    The cookie that the page shows is set as it stands there, but for the value.
    """
    policy = Policy(session=session_spec(signed=[KEY], cookie=NAME))
    (line,) = serve((), get_session_context, policy=policy, status=200, headers=[]).cookies
    assert f"\nSet-Cookie: {re.sub('=[^;]*', '=ID.signature', line, count=1)}\n" in PAGE


def test_the_table_is_read_whole() -> None:
    """
    The page's table has rows, and none that is not tried.
    """
    assert len(ROWS) == len(re.findall(r"^\| `\d{3}`", PAGE, re.MULTILINE)) == 17


@BOTH
@pytest.mark.parametrize(
    ("headers", "method", "status", "is_set"),
    [
        pytest.param([], "GET", 200, False, id="says nothing"),
        pytest.param([("Cache-Control", "no-cache")], "GET", 200, False, id="no-cache"),
        pytest.param([("Cache-Control", "private")], "GET", 200, True, id="private"),
        pytest.param([], "POST", 200, True, id="a POST"),
        pytest.param([], "POST", 303, True, id="a redirect after a POST"),
        pytest.param([], "GET", 303, False, id="a redirect"),
        pytest.param([], "HEAD", 503, False, id="a failure"),
        pytest.param([("Cache-Control", "no-store")], "GET", 503, True, id="no-store"),
        pytest.param([("Expires", EXPIRED)], "GET", 200, False, id="expired"),
    ],
)
def test_a_response_that_is_left_alone_sets_none(
    serve: Serve, headers: list[Line], method: str, status: int, is_set: bool
) -> None:
    """
    S11: with ``mark_private=False`` nothing becomes private for the cookie's sake.
    """
    policy = Policy(session=SPEC, mark_private=False)
    answer = serve((), policy=policy, headers=headers, method=method, status=status)
    assert len(answer.cookies) == int(is_set)
    assert values_of(answer.headers, "cache-control") == values_of(headers, "cache-control")


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", [206, 303, 304, 400, 401, 403, 429, 500, 502, 503, 504, 520])
def test_every_status_with_a_signed_session_is_kept_from_caches(
    serve: Serve, status: int, method: str
) -> None:
    """
    S11: some cache stores every status, and who has a signed ID has the session.
    """
    signed_only = Policy(session=session_spec(signed=[KEY]))
    answer = serve((), policy=signed_only, status=status, method=method)
    is_stored = status not in (206, 304) and method != "POST"
    assert values_of(answer.headers, "cache-control") == (["private"] if is_stored else [])
    # Without signatures the ID is no credential, and the response stays as it is.
    answer = serve((), policy=Policy(), status=status, method=method)
    assert values_of(answer.headers, "cache-control") == []


@BOTH
def test_an_id_on_every_response_does_not_bring_the_cookie(serve: Serve) -> None:
    """
    S11: the request's ID may be on a shared page, and the cookie is not.
    """
    policy = Policy(session=SPEC, extra=[request_spec(echo="always")])
    answer = serve((), policy=policy, headers=[("Cache-Control", "public")])
    assert len(values_of(answer.headers, "x-request-id")) == 1
    assert answer.cookies == []
    # And the cookie makes the response private, which that ID alone would not.
    assert values_of(serve((), policy=policy).headers, "cache-control") == ["private"]


LOST = "a response that caches may store does not replace or delete the cookie __Host-session"
LATE = "the session has changed after the response began"


def change_session() -> None:
    """
    Set the session to another that was minted here.
    """
    identify(session_id=OTHER)


@BOTH
@pytest.mark.parametrize("act", [rotate_session_id, forget_session_id, change_session])
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        pytest.param(200, [("Cache-Control", "public")], id="public"),
        pytest.param(200, [("ETag", '"1"')], id="a file"),
        pytest.param(304, [], id="304"),
        pytest.param(206, [("Cache-Control", "no-store")], id="206"),
    ],
)
def test_a_login_that_no_cookie_carries_is_warned_of(
    serve: Serve, act: Act, status: int, headers: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    """
    S9: the browser keeps the session from before a login or logout, and one warning says so.
    """
    for _ in range(2):
        assert serve([cookie(OURS)], act, status=status, headers=headers).cookies == []
    (record,) = caplog.records
    assert LOST in record.getMessage()
    assert "Cache-Control: no-store" in record.getMessage()


@BOTH
@pytest.mark.parametrize(
    ("lines", "act", "headers"),
    [
        pytest.param([], rotate_session_id, PUBLIC, id="a first visit"),
        pytest.param([cookie(OURS)], get_session_context, PUBLIC, id="no change"),
        pytest.param([cookie(OURS)], rotate_session_id, [], id="a cookie that is set"),
        pytest.param([cookie(OURS)], forget_session_id, [], id="a cookie that is deleted"),
    ],
)
def test_a_session_that_is_not_lost_is_not_warned_of(
    serve: Serve, lines: list[Line], act: Act, headers: list[Line], caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: where the browser has the right session, or has had none, there is no warning.
    """
    serve(lines, act, headers=headers)
    assert caplog.records == []


@BOTH
def test_a_session_that_has_ended_is_replaced_by_the_next_response(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: a shared page cannot replace an ended session, which the next page does, without a warning.
    """
    policy = Policy(session=SPEC, admission=Admission(known(False), unknown="mint"))
    assert serve([cookie(OURS)], policy=policy, headers=PUBLIC).cookies == []
    assert LOST not in caplog.text


def rotate_late_asgi(policy: Policy, act: Act) -> None:
    """
    Change the session of an ASGI request after its response has begun.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        act()
        await send({"type": "http.response.body"})

    ask_asgi(asgi.SessionContextMiddleware(app, policy), http_scope([cookie(OURS)]))


def rotate_late_wsgi(policy: Policy, act: Act) -> None:
    """
    Do the same in a WSGI request.
    """

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        act()

    ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ_of([cookie(OURS)]))


@pytest.mark.parametrize("ask", [rotate_late_asgi, rotate_late_wsgi], ids=["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("policy", "act", "said"),
    [
        pytest.param(POLICY, rotate_session_id, [LATE], id="rotated"),
        pytest.param(POLICY, forget_session_id, [LATE], id="forgotten"),
        pytest.param(POLICY, lambda: identify(session_id=OURS), [], id="the same"),
        pytest.param(POLICY, lambda: identify(user_id="alice"), [], id="another ID"),
        pytest.param(Policy(), rotate_session_id, [], id="no cookie"),
    ],
)
def test_a_login_after_the_response_began_is_warned_of(
    ask: Any, policy: Policy, act: Act, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """
    S9: the cookie has been sent, so that the browser keeps the session from before.
    """
    for _ in range(2):
        ask(policy, act)
    assert [LATE] * len(caplog.records) == said
    assert all(LATE in record.getMessage() for record in caplog.records)


class ChangingIDs(RequestIDs):
    """
    The IDs of a request whose session another thread changes all the time.
    """

    __slots__ = ("numbers",)

    numbers: Any

    @property
    def values(self) -> Any:  # type: ignore[override]
        """
        Return other values at each reading.
        """
        return signed(f"s{next(self.numbers)}"), None, None, Provenance.CODE, None, None


def test_a_header_and_a_cookie_of_one_response_have_one_session() -> None:
    """
    S26: both are made of the same values, also if a thread rotates the session meanwhile.
    """
    plan = compile_policy(POLICY, WSGI)
    inner: Any = ChangingIDs()
    inner.numbers, inner.policy, inner.held = count(), plan.policy, OURS
    (_, session), (_, line) = plan.echo_pairs(inner)
    assert line == set_line(session)


APP_COOKIES: dict[str, tuple[list[str], list[str]]] = {
    "others": (["a=1; Path=/", "b=2"], ["a=1; Path=/", "b=2"]),
    "the same name": ([f"{NAME}=x; Path=/; Secure"], []),
    "the same name, deleted": ([f"{NAME}=; Max-Age=0"], []),
    "the same name among others": (["a=1", f" {NAME} = x", "b=2"], ["a=1", "b=2"]),
    "another case": (["__host-session=x"], ["__host-session=x"]),
    "the name in a value": ([f"a={NAME}=x"], [f"a={NAME}=x"]),
    "the name with more": ([f"{NAME}s=x"], [f"{NAME}s=x"]),
    "no name": (["=x", "x"], ["=x", "x"]),
}


@BOTH
@pytest.mark.parametrize(
    ("given", "kept"), [pytest.param(*row, id=name) for name, row in APP_COOKIES.items()]
)
def test_the_cookies_of_the_application_are_left_alone(
    serve: Serve, given: list[str], kept: list[str]
) -> None:
    """
    R9: one line is added, and replaces only those that set this very cookie.
    """
    headers = [("Set-Cookie", line) for line in given]
    answer = serve((), headers=headers)
    assert answer.cookies == [*kept, set_line(answer.session)]
    # With nothing to set, all of them stay.
    assert serve([cookie(OURS)], headers=headers).cookies == given
    assert serve([], headers=[*headers, ("Cache-Control", "public")]).cookies == given


@BOTH
@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_every_method_may_begin_a_session(serve: Serve, method: str) -> None:
    """
    S26: the cookie is where the echo is.
    """
    assert len(serve((), method=method).cookies) == 1


def test_an_informational_response_has_none() -> None:
    """
    R9: 1xx carries neither the echo nor the cookie.
    """
    assert by_asgi(status=103).headers == []


def test_a_websocket_sets_it_with_its_acceptance_or_its_denial() -> None:
    """
    S26: the handshake's response is a response.
    """
    for kind in ("websocket.accept", "websocket.http.response.start"):

        async def app(scope: Any, receive: Any, send: Any, kind: str = kind) -> None:
            await send({"type": kind, "headers": [], "status": 403})

        (start,) = ask_asgi(asgi.SessionContextMiddleware(app, POLICY), websocket_scope())
        pairs = pairs_of(start)
        (session,) = values_of(pairs, "x-session-id")
        assert values_of(pairs, "set-cookie") == [set_line(session)]


def test_a_response_that_is_begun_anew_has_one() -> None:
    """
    S26: the error's own ``start_response`` replaces the first one, cookie and all.
    """
    begun: list[list[Line]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("500 Error", [], (ValueError, ValueError(), None))
        return []

    def start_response(status: str, headers: list[Line], exc_info: Any = None) -> Any:
        begun.append(headers)

    [*wsgi.SessionContextMiddleware(app, POLICY)(environ_of(), start_response)]
    sessions = [values_of(headers, "x-session-id") for headers in begun]
    assert sessions[0] == sessions[1]
    assert [values_of(headers, "set-cookie") for headers in begun] == [
        [set_line(session) for session in found] for found in sessions
    ]


@pytest.mark.parametrize(
    ("outer", "inner", "count"),
    [
        pytest.param(POLICY, POLICY, 1, id="both"),
        pytest.param(POLICY, Policy(), 1, id="outside"),
        pytest.param(Policy(), POLICY, 0, id="inside"),
        pytest.param(
            POLICY,
            Policy(session=session_spec(signed=[KEY], cookie="__Host-b")),
            1,
            id="another name inside",
        ),
    ],
)
def test_only_the_outermost_middleware_sets_it(outer: Policy, inner: Policy, count: int) -> None:
    """
    R15: a nested middleware adds nothing, also if it refuses the request.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    for nested in (inner, Policy(session=inner_spec(inner), user=user_spec(required=True))):
        door = asgi.SessionContextMiddleware(asgi.SessionContextMiddleware(app, nested), outer)
        start, *_ = ask_asgi(door, http_scope())
        cookies = values_of(pairs_of(start), "set-cookie")
        assert [line.partition("=")[0] for line in cookies] == [NAME] * count


def inner_spec(policy: Policy) -> Any:
    """
    Return the rules of the session.
    """
    return policy.session


@BOTH
@pytest.mark.parametrize(
    ("spec", "lines", "cookies"),
    [
        pytest.param({"required": True}, [], 1, id="required and absent"),
        pytest.param({"on_invalid": "reject"}, [cookie("x")], 1, id="invalid"),
        pytest.param({"must_match": lambda *_: False}, [cookie(OURS)], 0, id="unmatched"),
    ],
)
def test_a_refusal_heals_the_browser(
    serve: Serve, spec: Any, lines: list[Line], cookies: int
) -> None:
    """
    R8: a browser whose cookie is refused gets another, and is not refused for ever.
    """
    policy = Policy(session=session_spec(signed=[KEY], cookie=NAME, **spec))
    answer = serve(lines, policy=policy)
    assert len(answer.cookies) == cookies
    assert values_of(answer.headers, "cache-control") == ["no-store"]


def known(answer: Any) -> Callable[[str], bool]:
    """
    Return a function for ``Admission`` that answers so.
    """

    def ask(session: str) -> bool:
        if answer is None:
            raise ConnectionError
        return bool(answer)

    return ask


@BOTH
@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        pytest.param(True, {}, "none", id="known"),
        pytest.param(False, {"unknown": "mint"}, "set", id="ended, a fresh one"),
        pytest.param(False, {"unknown": "refuse"}, "deleted", id="ended, refused"),
        pytest.param(None, {"unavailable": "mint"}, "none", id="no answer, a fresh one"),
        pytest.param(None, {"unavailable": "refuse"}, "none", id="no answer, refused"),
    ],
)
def test_a_session_that_has_ended_leaves_the_browser(
    serve: Serve, answer: Any, options: Any, expected: str
) -> None:
    """
    S9: the registry ends a session whose signature is good; an outage ends none.
    """
    policy = Policy(session=SPEC, admission=Admission(known(answer), **options))
    found = serve([cookie(OURS)], policy=policy)
    cookies = {"none": [], "set": [set_line(found.session)], "deleted": [DELETED]}
    assert found.cookies == cookies[expected]


@BOTH
@pytest.mark.parametrize("unknown", ["mint", "refuse"])
def test_the_end_of_another_session_leaves_the_cookie(serve: Serve, unknown: Any) -> None:
    """
    S9: the session that has ended was that of the header, and the cookie has another.
    """
    policy = Policy(session=SPEC, admission=Admission(known(False), unknown=unknown))
    assert serve([("X-Session-ID", OTHER), cookie(OURS)], policy=policy).cookies == []
    assert serve([("X-Session-ID", OTHER)], policy=policy).cookies == []
    assert len(serve([("X-Session-ID", OURS), cookie(OURS)], policy=policy).cookies) == 1


def test_an_excluded_path_sets_none() -> None:
    """
    R9: nothing is bound there, nothing minted, and nothing set.
    """
    policy = Policy(session=SPEC, exclude=["/"])
    assert by_asgi(policy=policy).headers == by_wsgi(policy=policy).headers == []
