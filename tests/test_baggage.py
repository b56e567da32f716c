"""
W3C baggage as a source of IDs.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive import ask_asgi, ask_wsgi, environ_of, http_scope
from idlanyard import (
    Baggage,
    Policy,
    PolicyError,
    Provenance,
    asgi,
    get_session_context,
    session_spec,
    user_spec,
    wsgi,
)
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._decision.protocols import ASGIRequest
from idlanyard._policy.id_check import IDCheck

SOURCE = Baggage("session.id")
POLICY = Policy(session=session_spec(sources=["X-Session-ID", SOURCE], mint=None))
SIDES = ["asgi", "wsgi"]


def bound_by(side: str, policy: Policy, lines: list[tuple[str, str]]) -> Any:
    """
    Return what a request with these header lines has bound, on one side.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_context())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(get_session_context())
        start_response("200 OK", [])
        return [b""]

    if side == "asgi":
        ask_asgi(asgi.SessionContextMiddleware(app, policy), http_scope(lines))
    else:
        ask_wsgi(wsgi.SessionContextMiddleware(plain, policy), environ_of(lines))
    return seen[0]


def read(*lines: str) -> list[str]:
    """
    Return what the source says of baggage lines.
    """
    headers = [(b"Baggage", line.encode("latin-1")) for line in lines]
    return SOURCE.read(ASGIRequest({"headers": headers}, DEFAULT_POLICY))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("lines", "session"),
    [
        pytest.param(["session.id=s1"], "s1", id="alone"),
        pytest.param(["a=b, session.id = s1 ,c=d"], "s1", id="among others"),
        pytest.param(["a=b", "session.id=s1"], "s1", id="on a second line"),
        pytest.param(["session.id=user%3A1%2B2"], "user:1+2", id="percent-encoded"),
        pytest.param(["session.id=Ab~._-"], "Ab~._-", id="as it is"),
        pytest.param(["session.id=a+b"], None, id="a plus is a space to OpenTelemetry"),
        pytest.param(["session.id=s1;secret"], None, id="a property"),
        pytest.param(["session.id=%20s1"], None, id="a space first"),
        pytest.param(["session.id=s1%0d%0aX: y"], None, id="a line break"),
        pytest.param(["session.id=%ff"], None, id="no UTF-8"),
        pytest.param(["session.id=%C3%A9"], None, id="not ASCII"),
        pytest.param(["session.id="], None, id="empty"),
        pytest.param(["session.id"], None, id="no value"),
        pytest.param(["session.id,session.id=s1"], "s1", id="beside one without a value"),
        pytest.param([",,;,=,"], None, id="no members"),
        pytest.param(["session.id=s1,session.id=s2"], None, id="twice"),
        pytest.param(["session.id=s1", "session.id=s1"], None, id="twice the same"),
        pytest.param(["session.id=s1,session%2Eid=s2"], None, id="twice in disguise"),
        pytest.param(["Session.ID=s1"], None, id="keys have a case"),
        pytest.param(["xsession.id=s1"], None, id="another key"),
    ],
)
def test_a_member_is_taken_whole_or_not_at_all(
    side: str, lines: list[str], session: str | None
) -> None:
    """
    S16, R7: one member of the key is the ID, and the client's word; what OpenTelemetry would
    read otherwise, and two of them, are none.
    """
    context = bound_by(side, POLICY, [("baggage", line) for line in lines])
    assert context.session_id == session
    assert context.provenance("session_id") is (Provenance.CLIENT if session else None)


@pytest.mark.parametrize("side", SIDES)
def test_sources_have_an_order(side: str) -> None:
    """
    R5: the header comes before baggage where it stands first, and after it where not.
    """
    lines = [("X-Session-ID", "h"), ("baggage", "session.id=b")]
    other = Policy(session=session_spec(sources=[SOURCE, "X-Session-ID"]))
    assert bound_by(side, POLICY, lines).session_id == "h"
    assert bound_by(side, other, lines).session_id == "b"


@pytest.mark.parametrize("side", SIDES)
def test_baggage_names_no_user(side: str) -> None:
    """
    S16: undeclared keys are not read, whoever sends them.
    """
    policy = Policy(trusted_peers=["0.0.0.0/0"], session=POLICY.session)
    context = bound_by(side, policy, [("baggage", "user.id=admin,customer.id=acme")])
    assert context.is_empty()


def test_baggage_proves_nothing() -> None:
    """
    S16: an ID that needs proof cannot be declared to come from baggage.
    """
    with pytest.raises(PolicyError, match="client's own word"):
        Policy(user=user_spec(sources=["X-User-ID", Baggage("user.id")]))


@pytest.mark.parametrize("key", ["", "a b", "a=b", "a,b", "session%2Eid", "é", None])
def test_a_key_is_written_as_it_is(key: Any) -> None:
    """
    R14: a key that no codec leaves alone is a wrong rule, and the message says what to write.
    """
    with pytest.raises(PolicyError, match="such as Baggage"):
        Baggage(key)


def test_limits_count_over_all_lines() -> None:
    """
    S16: 8,192 bytes of all lines together are read, one more is none at all.
    """
    member = "session.id=s1"
    room = 8192 - len(member) - len(",x=") - 1
    assert read(member, "x=" + "y" * (room + 1)) == ["s1"]
    assert read(member, "x=" + "y" * (room + 2)) == []
    assert read(*["," * 4000] * 3, member) == []


def test_members_beyond_the_64th_are_dropped_whole() -> None:
    """
    S16: of 65 members the first 64 are read.
    """
    others = ",".join(f"k{number}=v" for number in range(63))
    assert read(f"{others},session.id=s1") == ["s1"]
    assert read(f"x=y,{others}", "session.id=s1") == []


def test_a_flood_binds_nothing() -> None:
    """
    S16, CVE-2026-29181: 200 lines of 8 KB each bind nothing.
    """
    flood = ["session.id=s1," * 600] * 200
    assert read(*flood) == []


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=80), max_size=4))
def test_hostile_baggage_raises_nothing(lines: list[str]) -> None:
    """
    S29: whatever the header holds, reading it raises nothing.
    """
    assert all(isinstance(value, str) for value in read(*lines))


@given(st.from_regex(r"[!-~]{1,40}", fullmatch=True).filter(IDCheck("visible").matches))
def test_an_id_that_is_quoted_is_read_as_it_was(id: str) -> None:
    """
    W3C Baggage 3.2.1.2: a value whose odd characters are percent-encoded is the same again.
    """
    assert read(f"session.id={quote(id, safe='')}") == [id]
