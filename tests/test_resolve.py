"""
``resolve`` decides the same whether a request raises a question or not.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import (
    Cookie,
    Header,
    IDSpec,
    Policy,
    request_spec,
    session_spec,
    tenant_spec,
    user_spec,
)
from idlanyard._decision.compiled_resolve import compile_resolve
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import ASGI, WSGI, Dialect
from idlanyard._decision.resolve import ABSENT, Resolution, resolve


def fixed() -> str:
    """
    A generator whose IDs can be compared.
    """
    return "minted"


SESSION = session_spec(mint=fixed)
ALPHABET = ["Alpha", "Beta", "Gamma", "Delta", "Zeta"]
SECRET = "s" * 32
POLICIES = {
    "closed": Policy(session=SESSION),
    "trusting": Policy(session=SESSION, trusted_peers=["10.0.0.0/8"]),
    "secret": Policy(session=SESSION, shared_secret=("X-Proxy-Secret", SECRET)),
    "demanding": Policy(
        session=session_spec(mint=fixed, on_invalid="reject", required=True),
        user=user_spec(required=True),
        tenant=tenant_spec(must_match=lambda value, _: value == "t"),
        trusted_peers=["10.0.0.0/8"],
    ),
    "quiet": Policy(
        session=session_spec(mint=fixed, echo=False, forward=False),
        user=user_spec(echo="always", forward=False),
        extra=[request_spec(mint=fixed)],
        trusted_peers=["10.0.0.0/8"],
    ),
    "elsewhere": Policy(
        session=session_spec(
            mint=fixed, sources=["X-Session-ID", "X-Conversation-ID", Cookie("sid")]
        ),
        extra=[request_spec(mint=None, sources=[Header.traceparent()])],
    ),
    "anonymous": Policy(session=SESSION, user=user_spec(mint=fixed), tenant=None),
    "refusing": Policy(
        session=session_spec(mint=fixed, on_invalid="reject"),
        user=user_spec(on_invalid="reject", must_match=lambda value, _: value == "t"),
        tenant=tenant_spec(must_match=lambda value, _: value == "s1"),
        trusted_peers=["10.0.0.0/8"],
    ),
    "required": Policy(
        session=session_spec(mint=fixed, required=True),
        extra=[request_spec(mint=fixed, required=True)],
        trusted_peers=["10.0.0.0/8"],
    ),
    "many": Policy(
        session=SESSION,
        extra=[
            request_spec(mint=fixed),
            *(
                IDSpec(
                    name=f"{word}_id".lower(),
                    header=f"X-{word}",
                    accept="proven" if word < "C" else "anyone",
                )
                for word in ALPHABET
            ),
        ],
        trusted_peers=["10.0.0.0/8"],
        exclude=["/health"],
    ),
}
NAMES = [
    "X-Session-ID",
    "X-User-ID",
    "X-Tenant-ID",
    "X_User-ID",
    "X-Conversation-ID",
    "X-Request-ID",
    *(f"X-{word}" for word in ALPHABET),
    "X-Proxy-Secret",
    "Connection",
    "X-Forwarded-For",
    "traceparent",
]
VALUES = [
    "s1",
    "t",
    "",
    "a b",
    "a,b",
    "x" * 255,
    "x" * 256,
    "\xe9",
    SECRET,
    "keep-alive",
    "close, X-User-ID",
    "10.0.0.5",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
]
LINES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=5)
PEERS = st.sampled_from(["10.0.0.5", "203.0.113.9", ""])


def asgi(lines: list[tuple[str, str]], peer: str) -> Any:
    """
    The request as an ASGI scope.
    """
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in lines]
    return headers, {"path": "/", "headers": headers, "client": (peer, 1) if peer else None}


def wsgi(lines: list[tuple[str, str]], peer: str) -> Any:
    """
    The request as a WSGI environ; repeated headers are joined, as servers do it.
    """
    environ: dict[str, str] = {}
    for name, value in lines:
        key = WSGI.key(name)
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    around = {"PATH_INFO": "/", "REMOTE_ADDR": peer, "SERVER_SOFTWARE": "gunicorn/25"}
    return list(environ.items()), environ | around


def comparable(resolution: Resolution) -> Any:
    """
    The content of a resolution, without the order that means nothing.
    """
    scope, edits, refusal, rejected = resolution
    gone, added = edits or ((), [])
    return scope.values, sorted(scope.echo or []), set(gone), sorted(added), refusal, set(rejected)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("dialect", "request_of"), [(ASGI, asgi), (WSGI, wsgi)], ids=["asgi", "wsgi"]
)
@given(lines=LINES, peer=PEERS)
def test_a_question_changes_no_decision(
    dialect: Dialect, request_of: Any, name: str, lines: list[tuple[str, str]], peer: str
) -> None:
    """
    R5 to R7: the decision that is written out for a policy is that of ``resolve``.
    """
    plan = compile_policy(POLICIES[name], dialect)
    pairs, raw = request_of(lines, peer)
    # The first refusal is the answer: the keys of an environ have an order of their own.
    found = pairs if dialect is ASGI else plan.find_lines(raw, plan.watched)
    assert comparable(compile_resolve(plan)(pairs, raw)) == comparable(resolve(plan, found, raw))


@pytest.mark.parametrize(
    ("dialect", "request_of"), [(ASGI, asgi), (WSGI, wsgi)], ids=["asgi", "wsgi"]
)
def test_an_absent_id_is_refused_before_an_invalid_one(dialect: Dialect, request_of: Any) -> None:
    """
    R8: of several refusals the one about an ID that is required and absent is the answer.
    """
    session, user = session_spec(on_invalid="reject"), user_spec(required=True)
    plan = compile_policy(Policy(session=session, user=user), dialect)
    request = request_of([("X-Session-ID", "not valid")], "10.0.0.5")
    _, _, refusal, rejected = compile_resolve(plan)(*request)
    assert refusal == (401, "user_id", ABSENT)
    assert len(rejected) == 2


def test_an_id_is_minted_once() -> None:
    """
    A mint function is called once for a request, also if another ID is required and absent.
    """
    minted = count()
    session = session_spec(mint=lambda: f"s{next(minted)}")
    plan = compile_policy(Policy(session=session, user=user_spec(required=True)), ASGI)
    before = next(minted)
    inner, _, refusal, _ = compile_resolve(plan)([], {"path": "/", "headers": []})
    assert (inner.values[0], refusal is not None) == (f"s{before + 1}", True)


@pytest.mark.parametrize(
    ("path", "bound"),
    [
        pytest.param("/health", False, id="excluded"),
        pytest.param("/healthy", True, id="longer"),
        pytest.param("/x/health", True, id="below"),
    ],
)
def test_excluded_paths_are_exact(path: str, bound: bool) -> None:
    """
    S24: an excluded path is the whole path, and nothing is bound for it.
    """
    plan = compile_policy(Policy(session=SESSION, exclude=["/health"]), ASGI)
    scope, _, _, _ = compile_resolve(plan)([], {"path": path, "headers": []})
    assert (scope.values[0] == "minted") is bound


@pytest.mark.parametrize(
    ("length", "believed"),
    [pytest.param(100, True, id="long"), pytest.param(9000, False, id="absurd")],
)
def test_an_absurd_connection_line_names_everything(length: int, believed: bool) -> None:
    """
    S5, S29: a Connection line too long to be read takes every header we manage with it.
    """
    plan = compile_policy(POLICIES["trusting"], ASGI)
    headers, raw = asgi([("X-User-ID", "u1"), ("Connection", "x," * (length // 2))], "10.0.0.5")
    scope, edits, _, _ = compile_resolve(plan)(headers, raw)
    assert (scope.look_up("user_id")[0] == "u1") is believed
    assert edits is not None
    assert (b"x-user-id" in edits[0]) is not believed


def test_lines_that_name_nothing_are_not_too_many() -> None:
    """
    Thousands of lines ``Connection: close`` name no header, whatever question is raised.
    """
    plan = compile_policy(POLICIES["secret"], ASGI)
    lines = [("Connection", "close")] * 2000 + [("X-Session-ID", "s1")]
    for more in ([], [("X-Proxy-Secret", SECRET)]):
        scope, _, _, _ = compile_resolve(plan)(*asgi([*lines, *more], "10.0.0.5"))
        assert scope.look_up("session_id")[0] == "s1"
