"""
One table of requests through ``resolve``, the ASGI and the WSGI middleware.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from drive import STRANGER, Line, ask_asgi, ask_wsgi, environ_of, http_scope, pairs_of
from idlanyard import (
    Header,
    Policy,
    SessionContext,
    asgi,
    get_session_context,
    session_spec,
    user_spec,
    wsgi,
)
from idlanyard._decision.plan import CompiledPolicy, compile_policy
from idlanyard._decision.protocols import ASGI, WSGI
from idlanyard._decision.resolve import resolve
from idlanyard._policy.policy import checked_policy
from idlanyard.testing import override
from parity_cases import CASES, MINT, Case


@dataclass
class Answer:
    """
    The outcome of a request at one door.

    Attributes:
        context: what was bound, or would have been.
        seen: the request's header lines afterwards; ``None`` where the
            application was not called.
        echo: the response's headers.
        status: of the response.
        field: the ID for which it was refused.
    """

    context: SessionContext | None
    seen: list[Line] | None
    echo: list[Line]
    status: int
    field: str | None = None


def _scope(case: Case) -> dict[str, Any]:
    scope = http_scope(
        case.lines,
        peer=case.peer,
        path=case.root + case.path,
        root_path=case.root,
        query_string=case.query.encode(),
    )
    return scope | dict(case.scope)


def _environ(case: Case) -> dict[str, Any]:
    lines = [line for line in case.lines if case.joins or "_" not in line[0]]
    environ = environ_of(
        lines,
        peer=case.peer,
        SCRIPT_NAME=case.root,
        PATH_INFO=case.path,
        QUERY_STRING=case.query,
    )
    return environ | dict(case.environ)


def _lines_of(environ: dict[str, Any]) -> list[Line]:
    return [(key[5:], value) for key, value in environ.items() if key.startswith("HTTP_")]


def _through_asgi(case: Case) -> Answer:
    """
    Serve the request by the ASGI middleware.
    """
    called: list[tuple[SessionContext, list[Line]]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append((get_session_context(), pairs_of(scope)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    start, body = ask_asgi(asgi.SessionContextMiddleware(app, case.policy), _scope(case))
    return _answer(called, start["status"], pairs_of(start), body["body"])


def _through_wsgi(case: Case) -> Answer:
    """
    Serve the request by the WSGI middleware.
    """
    called: list[tuple[SessionContext, list[Line]]] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        called.append((get_session_context(), _lines_of(environ)))
        start_response("200 OK", [])
        return [b"{}"]

    response = ask_wsgi(wsgi.SessionContextMiddleware(app, case.policy), _environ(case))
    return _answer(called, int(response.status[:3]), response.headers, response.body)


def _answer(
    called: list[tuple[SessionContext, list[Line]]], status: int, echo: list[Line], body: bytes
) -> Answer:
    ours = ("content-type", "content-length", "cache-control", "www-authenticate")
    echo = [pair for pair in echo if pair[0].lower() not in ours]
    field = json.loads(body).get("field")
    if not called:
        return Answer(None, None, echo, status, field)
    [(context, seen)] = called
    return Answer(context, seen, echo, status, field)


def _resolved(case: Case, plan: CompiledPolicy, lines: list[tuple[Any, Any]], raw: Any) -> Answer:
    """
    Ask ``resolve`` itself, and carry its edits out.
    """
    own = {spelling: line[0] for spelling, line in plan.watched.items()}
    found = [pair for pair in lines if pair[0] in plan.watched]
    scope, edits, refusal, _ = resolve(plan, found, raw)
    gone, added = edits or ((), [])
    lines = [pair for pair in lines if own.get(pair[0]) not in gone] + added
    context = _snapshot(scope.values, case.policy)
    # A scope without prepared pairs has them made when the response starts.
    pairs = plan.echo_pairs(scope) if scope.echo is None else scope.echo
    echo = [(_text(name), _text(value)) for name, value in pairs]
    if refusal is None:
        return Answer(context, [(_text(n), _text(v)) for n, v in lines], echo, 200)
    echo = [pair for pair in echo if pair[0].lower() == "x-session-id"]
    return Answer(context, None, echo, refusal.status, refusal.field)


def _snapshot(values: tuple[Any, ...], policy: Policy) -> SessionContext:
    """
    Bind *values* as a request would, and read them by the public way.
    """
    from idlanyard._binding.state import bound, make_request_ids

    scope = make_request_ids(checked_policy(policy), {})
    scope.values = values
    token = bound.set(scope)
    try:
        return get_session_context()
    finally:
        bound.reset(token)


def _text(value: bytes | str) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text.removeprefix("HTTP_")


def _by_resolve_asgi(case: Case) -> Answer:
    raw = _scope(case)
    return _resolved(case, compile_policy(case.policy, ASGI), raw["headers"], raw)


def _by_resolve_wsgi(case: Case) -> Answer:
    raw = _environ(case)
    lines = [(key, value) for key, value in raw.items() if key.startswith("HTTP_")]
    return _resolved(case, compile_policy(case.policy, WSGI), lines, raw)


DOORS: dict[str, Callable[[Case], Answer]] = {
    "asgi": _through_asgi,
    "asgi resolve": _by_resolve_asgi,
    "wsgi": _through_wsgi,
    "wsgi resolve": _by_resolve_wsgi,
}


def _managed(policy: Policy) -> set[str]:
    """
    Return the names of the headers that the policy rules over, lower-case.
    """
    names = {policy.shared_secret[0]} if policy.shared_secret else set()
    for spec in checked_policy(policy).specs.values():
        names.add(spec.header)
        headers = [source for source in spec.sources if isinstance(source, Header)]
        names |= {header.name for header in headers if header.parse is None}
    return {name.lower() for name in names}


def _plain(lines: Iterable[Line], minted: set[str]) -> list[Line]:
    """
    Return lines by one spelling of their names, each fresh ID under one name.
    """
    return sorted(
        (name.lower().replace("_", "-"), MINT if value in minted else value)
        for name, value in lines
    )


def _pairs(case: Case, given: Any) -> list[Line]:
    if given is None:
        specs = checked_policy(case.policy).specs
        given = {specs[name].header: value for name, value in case.ids.items()}
    return sorted((name.lower(), value) for name, value in given.items())


def _hows(case: Case) -> dict[str, str]:
    """
    Return the provenance that each ID of the case must have.
    """
    anyone = ("session_id", "request_id")
    usual = {name: "client" if name in anyone else "peer" for name in case.ids}
    minted = {name: "minted" for name, value in case.ids.items() if value == MINT}
    return {name: how for name, how in {**usual, **minted, **case.how}.items() if name in case.ids}


@pytest.mark.parametrize(
    ("name", "door"),
    [
        pytest.param(name, door, id=f"{door}: {name}")
        for name, case in CASES.items()
        for door in DOORS
        if case.only is None or door.startswith(case.only)
    ],
)
def test_every_door_gives_the_one_right_answer(name: str, door: str) -> None:
    """
    ``resolve`` and both middlewares answer each request of the table the same (R5 to R10).
    """
    case = CASES[name]
    answer = DOORS[door](case)
    minted = {value for _, value in answer.echo if len(value) == 32 and value != "a" * 32}
    if answer.context is not None:
        got = answer.context.as_dict()
        minted = {v for n, v in got.items() if answer.context.provenance(n) == "minted"}
        minted -= set(case.ids.values())
        assert {n: MINT if v in minted else v for n, v in got.items()} == case.ids
        assert {n: answer.context.provenance(n) for n in got} == _hows(case)
    assert (answer.status, answer.field) == (case.status, case.field)
    assert _plain(answer.echo, minted) == _pairs(case, case.echo)
    if case.status != 200:
        assert answer.seen is None
        return
    assert answer.seen is not None
    managed = _managed(case.policy)
    seen = _plain(answer.seen, minted)
    assert [line for line in seen if line[0] in managed] == _pairs(case, case.seen)
    others = [line for line in case.lines if line[0].lower().replace("_", "-") not in managed]
    assert [line for line in seen if line[0] not in managed] == _plain(others, set())


def test_the_table_has_a_case_for_every_status() -> None:
    """
    The table refuses by every status of R8 and lets through, so that none goes untested.
    """
    assert {case.status for case in CASES.values()} == {200, 400, 401, 403}


def test_must_match_reads_the_request_as_it_came_in() -> None:
    """
    ``must_match`` gets the value and one view of headers, path and peer by both protocols (S18).
    """
    views: list[tuple[Any, ...]] = []

    def note(value: str, request: Any) -> bool:
        headers = {name: v for name, v in request.headers.items() if name != "host"}
        raw = getattr(request, "scope", None) or request.environ
        views.append((value, headers, len(request.headers), request.path, request.peer))
        return isinstance(raw, dict)

    policy = Policy(session=session_spec(must_match=note))
    lines = (("X-Session-ID", "s1"), ("X-User-ID", "mallory"), ("Accept", "a"), ("Accept", "b"))
    case = Case(lines=lines, policy=policy, path="/orders", ids={})
    assert (_through_asgi(case).status, _through_wsgi(case).status) == (200, 200)
    expected = {"x-session-id": "s1", "x-user-id": "mallory", "accept": "a, b"}
    # A server of the other protocol joins without the space.
    joined = expected | {"accept": "a,b"}
    assert views == [
        ("s1", expected, 3, "/orders", STRANGER),
        ("s1", joined, 3, "/orders", STRANGER),
    ]


@pytest.mark.parametrize("door", ["asgi", "wsgi"])
def test_override_reaches_the_requests_of_both_protocols(door: str) -> None:
    """
    Under ``override`` a request has the forced IDs, in its headers too, and no refusal (S30).
    """
    policy = Policy(user=user_spec(required=True))
    case = Case(lines=(("X-Session-ID", "s1"), ("X-User-ID", "mallory")), policy=policy, ids={})
    assert DOORS[door](case).status == 401
    with override(user_id="alice"):
        answer = DOORS[door](case)
    assert answer.context is not None
    assert answer.context.as_dict() == {"session_id": "s1", "user_id": "alice"}
    assert answer.seen is not None
    assert _plain(answer.seen, set()) == [("x-session-id", "s1"), ("x-user-id", "alice")]
    assert _plain(answer.echo, set()) == [("x-session-id", "s1"), ("x-user-id", "alice")]
    with override(tenant_id="acme"):
        assert DOORS[door](case).status == 401
