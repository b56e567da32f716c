"""
The memory of earlier requests is bounded and changes no decision.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import Policy, session_spec
from idlanyard._decision.compiled_resolve import compile_resolve
from idlanyard._decision.memory import Memory
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import ASGI, WSGI, Dialect


def test_a_memory_is_bounded_in_entries_and_characters() -> None:
    """
    S29: there are at most 256 entries, and what is longer than 256 characters is decided anew.
    """
    asked: list[str] = []

    def decide(text: str) -> int:
        asked.append(text)
        return len(text)

    memory: Memory[str, int] = Memory(decide, len)
    for number in range(600):
        assert memory[f"{number:04}"] == 4
        assert memory[f"{number:04}"] == 4
        assert memory["x" * 257] == 257
        assert len(memory) <= 256
    assert asked.count("0000") == 1
    assert asked.count("x" * 257) == 600
    assert max(map(len, memory)) == 4


def fixed() -> str:
    return "minted"


POLICIES = [
    Policy(session=session_spec(mint=fixed), trusted_peers=["10.0.0.0/8", "2001:db8::/32"]),
    Policy(
        session=session_spec(mint=fixed),
        trusted_peers=["10.0.0.0/8", "unix"],
        assume_unix=True,
        shared_secret=("X-Proxy-Secret", "s" * 32),
    ),
]
HEADERS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["X-User-ID", "X-Session-ID"]), st.sampled_from(["u1", "s1", "a b"])
        ),
        st.tuples(
            st.just("Connection"),
            st.sampled_from(["close", "te, close", "X-User-ID", "a, x-session-id ", "Upgrade, b"]),
        ),
        st.tuples(
            st.sampled_from(["X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP"]),
            st.sampled_from(
                [
                    "10.0.0.5",
                    "198.51.100.7, 10.0.0.5",
                    "198.51.100.7 , 203.0.113.9",
                    "::ffff:10.0.0.5",
                    "2001:db8::1",
                    "[2001:db8::1]:443",
                    "198.51.100.7:80",
                    "unknown",
                    "",
                    "x",
                    "for=10.0.0.5;by=_x",
                    'for="[2001:db8::1]", for=198.51.100.7',
                ]
            ),
        ),
    ),
    max_size=4,
)
PEERS = st.sampled_from(["10.0.0.5", "10.0.0.6", "::ffff:10.0.0.5", "2001:db8::1", "9.9.9.9", ""])


def _ask(dialect: Dialect, plan: Any, request: tuple[Any, str]) -> Any:
    lines, peer = request
    if dialect is ASGI:
        pairs = [(name.lower().encode(), value.encode()) for name, value in lines]
        raw: Any = {"headers": pairs, "client": (peer, 1) if peer else None}
    else:
        raw = {WSGI.key(name): value for name, value in lines}
        raw |= {"REMOTE_ADDR": peer, "SERVER_SOFTWARE": "gunicorn/23"}
        pairs = [*raw.items()]
    inner, edits, refusal, rejected = compile_resolve(plan)(pairs, raw)
    return inner.values, inner.echo, edits, refusal, rejected


@pytest.mark.parametrize("policy", POLICIES, ids=["peers", "secret"])
@pytest.mark.parametrize("dialect", [ASGI, WSGI], ids=["asgi", "wsgi"])
@given(requests=st.lists(st.tuples(HEADERS, PEERS), max_size=3))
def test_what_is_remembered_of_requests_changes_no_decision(
    dialect: Dialect, policy: Policy, requests: list[tuple[Any, str]]
) -> None:
    """
    S5, S19: a policy that has seen other requests decides as one that has seen none.
    """
    seasoned = compile_policy(policy, dialect)
    for request in [*requests, *requests[:2]]:
        fresh = compile_policy(policy, dialect)
        said = _ask(dialect, seasoned, request)
        assert said == _ask(dialect, fresh, request)
