"""
What an error says to write is accepted when it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from idlanyard import (
    UNSET,
    IDSpec,
    Policy,
    SessionContext,
    get_id,
    identify,
    new_session_id,
    request_spec,
    require,
    session_context,
    set_session_context,
    use_policy,
    user_spec,
    without,
)
from idlanyard._policy.policy import checked_policy
from idlanyard.testing import client_headers, override

VERBS: list[Any] = [
    pytest.param(lambda **ids: identify(**ids), id="identify"),
    pytest.param(lambda **ids: session_context(**ids).__enter__(), id="session_context"),
    pytest.param(lambda **ids: set_session_context(**ids), id="set_session_context"),
    pytest.param(lambda **ids: override(**ids).__enter__(), id="override"),
    pytest.param(lambda **ids: client_headers(**ids), id="client_headers"),
    pytest.param(lambda **ids: get_id(*ids), id="get_id"),
    pytest.param(lambda **ids: require(*ids, proven=False), id="require"),
]


def refusal_of(fn: Callable[[], object]) -> str:
    """
    Return what *fn* is refused with.
    """
    with pytest.raises((TypeError, ValueError)) as caught:
        fn()
    return str(caught.value)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("user", "user_id"),
        ("userid", "user_id"),
        ("userId", "user_id"),
        ("USER_ID", "user_id"),
        ("usr_id", "user_id"),
        ("session", "session_id"),
        ("sesion_id", "session_id"),
        ("tenant", "tenant_id"),
        ("customer", "customer_id"),
    ],
)
def test_a_name_that_is_nearly_one_is_told_which(verb: Any, written: str, meant: str) -> None:
    """
    A name that is short, misspelt or in another case is answered with the ID that is meant.
    """
    with without():
        said = refusal_of(lambda: verb(**{written: "alice"}))
        assert said.endswith(f": write {meant}")
    with session_context("alice", "alice", "alice"):
        assert get_id(meant) == "alice"


@pytest.mark.parametrize(
    ("name", "declared", "spec"),
    [
        ("request_id", "request_id", "request_spec()"),
        ("request", "request_id", "request_spec()"),
        (
            "conversation_id",
            "conversation_id",
            "IDSpec(name='conversation_id', header='X-Conversation-ID')",
        ),
        ("deviceName", "device_name", "IDSpec(name='device_name', header='X-Device-Name')"),
    ],
)
def test_a_name_that_nobody_declared_is_told_how(name: str, declared: str, spec: str) -> None:
    """
    A further ID is answered with the line that declares it, which then holds in a script.
    """
    suggestion = f"use_policy(Policy(extra=[{spec}]))"
    said = refusal_of(lambda: identify(**{name: "c1"}))
    assert f"write {suggestion}, and for requests" in said
    undo = eval(suggestion)
    try:
        with session_context(**{declared: "c1"}):
            assert get_id(declared) == "c1"
    finally:
        undo()


def test_a_further_id_joins_those_that_are_declared() -> None:
    """
    To a policy with further IDs the message adds one and replaces none.
    """
    undo = use_policy(Policy(extra=[request_spec()]))
    try:
        said = refusal_of(lambda: get_id("device_id"))
    finally:
        undo()
    suggestion = "IDSpec(name='device_id', header='X-Device-ID')"
    assert f"add {suggestion} to the extra=[...] of your policy" in said
    policy = Policy(extra=[request_spec(), eval(suggestion)])
    assert checked_policy(policy).names[3:] == ("request_id", "device_id")


@pytest.mark.parametrize("name", ["as_dict", "1st", "größe", "x" * 70])
def test_a_name_that_no_id_can_have_is_told_so(name: str) -> None:
    """
    A name that no rule may declare is not suggested.
    """
    assert "no ID may be called so" in refusal_of(lambda: get_id(name))


@pytest.mark.parametrize(
    "value", [pytest.param("thread/1#2", id="characters"), pytest.param("x" * 300, id="length")]
)
def test_the_rule_that_would_allow_a_value_allows_it(value: str) -> None:
    """
    A refused value is answered with the policy that lets it in, which then does.
    """
    said = refusal_of(lambda: session_context(user_id=value).__enter__())
    suggestion = re.search(r"; (Policy\(.*\)) allows this one$", said)
    assert suggestion is not None
    undo = use_policy(eval(suggestion[1]))
    try:
        with session_context(user_id=value) as bound:
            assert bound.user_id == value
    finally:
        undo()


@pytest.mark.parametrize("value", ["chat 1", "thread/1#2", "José", "a,b"])
@pytest.mark.parametrize("verb", VERBS[:5])
def test_the_alphabet_is_that_of_the_rule_in_force(verb: Any, value: str) -> None:
    """
    Every verb and every bad value is answered with one and the same alphabet.
    """
    for policy, alphabet in [
        (Policy(), "allowed are letters, digits and - _ . ~ : @ / + = |, first a letter or digit"),
        (Policy(user=user_spec(charset="visible")), 'allowed are visible ASCII without , ; " '),
        (Policy(user=user_spec(charset=re.compile("[0-9]+"))), "it must match '[0-9]+'"),
    ]:
        undo = use_policy(policy)
        try:
            if checked_policy(policy).check("user_id").reason(value) is not None:
                said = refusal_of(lambda: verb(user_id=value))
                assert alphabet in said
                assert value not in said
        finally:
            undo()


def test_a_further_ids_rule_is_named_by_its_spec() -> None:
    """
    For an ID beyond the three the message names the option of its IDSpec.
    """
    spec = IDSpec(name="device_id", header="X-Device-ID")
    undo = use_policy(Policy(extra=[spec]))
    try:
        said = refusal_of(lambda: session_context(device_id="#1").__enter__())
    finally:
        undo()
    assert said.endswith("; charset='visible' in its IDSpec allows this one")


@pytest.mark.parametrize("name", [None, 5, b"user_id"])
@pytest.mark.parametrize("ask", [get_id, require], ids=["get_id", "require"])
def test_a_name_that_is_no_text_is_told_so(ask: Any, name: object) -> None:
    """
    R7: what is no name at all is a TypeError that says how an ID is named.
    """
    assert refusal_of(lambda: ask(name)).endswith("write 'user_id'")


@pytest.mark.parametrize(
    ("value", "instead"),
    [
        pytest.param(7, "str(...)", id="int"),
        pytest.param(UUID(int=7), "str(...)", id="UUID"),
        pytest.param(b"alice", "value.decode()", id="bytes"),
        pytest.param(True, "the ID that is meant, as in str(user.id)", id="bool"),
        pytest.param(["alice"], "the ID that is meant, as in str(user.id)", id="list"),
        pytest.param(object(), "the ID that is meant, as in str(user.id)", id="object"),
    ],
)
def test_what_is_no_text_is_told_how_it_becomes_one(value: Any, instead: str) -> None:
    """
    R7: what a message says to write gives an ID: the text of a list or an object is none.
    """
    said = refusal_of(lambda: identify(user_id=value))
    assert said == f"user_id must be a str, not {type(value).__name__}: write {instead}"


def test_what_is_no_policy_is_told_what_is() -> None:
    """
    R14: what is no policy is refused with the call that takes one.
    """
    said = refusal_of(lambda: use_policy({"trusted_peers": []}))  # type: ignore[arg-type]
    assert said == "use_policy takes a Policy, not dict: write use_policy(Policy(...))"


def test_a_snapshot_takes_names_as_they_are() -> None:
    """
    A SessionContext is a value: it knows no rules, and any name is one of its own.
    """
    assert SessionContext(device_id="d").get("device_id") == "d"
    for nothing in (None, "", UNSET):
        assert SessionContext("s", nothing, nothing, device_id=nothing) == SessionContext("s")
    with pytest.raises(TypeError, match="session_id must be a str, not function: call it"):
        SessionContext(new_session_id)  # type: ignore[arg-type]
