"""
IDs across a process boundary.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import (
    Policy,
    Provenance,
    SessionContext,
    dump,
    extract,
    get_session_context,
    get_session_id,
    identify,
    inject,
    prepare_request_headers,
    process_session_id,
    request_spec,
    restore,
    session_context,
    session_spec,
    use_policy,
    user_spec,
)
from idlanyard._binding.outgoing import add_ids_for_hop, managed_headers
from idlanyard._policy.origins import Origins

HERE, ELSEWHERE = "https://api.example/a", "https://other.example/"


def test_inject_adds_what_is_in_force() -> None:
    """
    Inject changes the mapping in place, keeps other keys and returns None.
    """
    headers = {"Accept": "*/*"}
    with session_context("s", user_id="u", tenant_id="t"):
        assert inject(headers) is None  # type: ignore[func-returns-value]
    assert headers == {
        "Accept": "*/*",
        "X-Session-ID": "s",
        "X-User-ID": "u",
        "X-Tenant-ID": "t",
    }


def test_inject_leaves_the_callers_header() -> None:
    """
    S15: a header that is there, in any case, wins and stays alone.
    """
    headers = {"x-session-id": "own"}
    with session_context("s"):
        inject(headers)
    assert headers == {"x-session-id": "own"}


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        pytest.param("https://api.internal/v1", True, id="on the list"),
        pytest.param("https://evil.example/?q=api.internal", False, id="off the list"),
        pytest.param("not a url", False, id="in doubt"),
    ],
)
def test_inject_sends_only_where_it_may(url: str, sent: bool) -> None:
    """
    R12, S13: with a list, only a URL of a listed origin gets the IDs.
    """
    headers: dict[str, str] = {}
    with session_context("s"):
        inject(headers, to=["https://api.internal"], url=url)
    assert bool(headers) is sent


def test_inject_says_what_it_needs() -> None:
    """
    R12: a list without a URL, and something that is no mapping, are the caller's errors.
    """
    with pytest.raises(TypeError, match=r"give url=\.\.\."):
        inject({}, to=["https://api.internal"])
    with pytest.raises(TypeError, match=r"write ids = \{\}; inject\(ids\), and add ids\.items\(\)"):
        inject([])  # type: ignore[arg-type]
    ids: dict[str, str] = {}
    with session_context("s"):
        inject(ids)
    assert [*ids.items()] == [("X-Session-ID", "s")]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param({}, {"x-session-id": "s", "x-user-id": "u"}, id="nothing there"),
        pytest.param({"x-user-id": "own"}, {"x-user-id": "own", "x-session-id": "s"}, id="own"),
        pytest.param(
            {"X-User-ID": "own"}, {"X-User-ID": "own", "x-session-id": "s"}, id="another case"
        ),
    ],
)
def test_inject_writes_names_in_lower_case(given: dict[str, str], sent: dict[str, str]) -> None:
    """
    A carrier that asks for lower case gets it, and the caller's header stays.
    """
    with session_context("s", user_id="u"):
        inject(given, lower=True)
        off_the_list: dict[str, str] = {}
        inject(off_the_list, to=["https://api.example"], url="https://evil.example", lower=True)
    assert (given, off_the_list) == (sent, {})


@pytest.mark.parametrize(
    ("url", "headers", "sent"),
    [
        (HERE, {}, {"X-User-ID": "u2"}),
        (HERE, {"X-User-ID": "u1"}, {"X-User-ID": "u2"}),
        (HERE, {"X-User-ID": "callers"}, {"X-User-ID": "callers"}),
        (ELSEWHERE, {"X-User-ID": "u1"}, {}),
        (ELSEWHERE, {"X-User-ID": "callers"}, {"X-User-ID": "callers"}),
    ],
    ids=["lost", "ours", "the caller's since", "ours off the list", "the caller's off the list"],
)
def test_each_hop_of_a_request_decides_anew(
    url: str, headers: dict[str, str], sent: dict[str, str]
) -> None:
    """
    A header that an earlier hop added is replaced or removed, one of the caller's is kept.
    """
    first: dict[str, str] = {}
    with session_context(user_id="u1"):
        added = add_ids_for_hop(first, HERE, Origins([HERE[:-2]]))
    assert first == added == {"X-User-ID": "u1"}
    with session_context(user_id="u2"):
        again = add_ids_for_hop(headers, url, Origins([HERE[:-2]]), earlier=added)
    assert headers == sent
    assert again == {name: value for name, value in sent.items() if value == "u2"}


def test_the_managed_headers_are_those_of_the_current_policy() -> None:
    """
    A client that removes the caller's IDs asks for the headers' names in lower case.
    """
    undo = use_policy(Policy(tenant=None, extra=[request_spec()]))
    try:
        assert managed_headers() == {"x-session-id", "x-user-id", "x-request-id"}
    finally:
        undo()


def test_what_is_not_declared_for_a_sink_stays() -> None:
    """
    R10: an ID with propagate=False or job=False is neither injected nor dumped.
    """
    policy = Policy(user=user_spec(propagate=False, job=False), session=session_spec())
    undo = use_policy(policy)
    headers: dict[str, str] = {}
    try:
        with session_context("s", user_id="u"):
            inject(headers)
            assert (headers, dump()) == ({"X-Session-ID": "s"}, {"session_id": ["s", "code"]})
    finally:
        undo()


def test_scripts_send_the_process_id_and_what_the_environment_holds() -> None:
    """
    A script's request has a session, and a mapped variable if it is set.
    """
    os.environ["IDLANYARD_TEST_KEY"] = "key-1"
    try:
        headers: dict[str, str] = {}
        variables = {"X-API-KEY": "IDLANYARD_TEST_KEY", "X-Other": "IDLANYARD_TEST_UNSET"}
        prepare_request_headers(headers, env_headers=variables)
        assert headers == {"X-Session-ID": process_session_id(), "X-API-KEY": "key-1"}
        headers = {"x-api-key": "own"}
        with session_context("s"):
            prepare_request_headers(headers, env_headers=variables)
        assert headers == {"x-api-key": "own", "X-Session-ID": "s"}
        os.environ["IDLANYARD_TEST_KEY"] = "key\r\nX-Injected: 1"
        with pytest.raises(ValueError, match="IDLANYARD_TEST_KEY holds a control") as caught:
            prepare_request_headers({}, env_headers=variables)
        assert "Injected" not in str(caught.value)
    finally:
        del os.environ["IDLANYARD_TEST_KEY"]


def test_scripts_without_a_session_send_none() -> None:
    """
    A script sends no session under a policy that leaves the session out.
    """
    undo = use_policy(Policy(session=None))
    headers: dict[str, str] = {}
    try:
        prepare_request_headers(headers)
    finally:
        undo()
    assert headers == {}


def test_what_was_dumped_is_restored_with_its_provenance() -> None:
    """
    R13, S27: a job has the IDs and provenances it was dumped with, in a scope of its own.
    """
    with session_context("s", user_id="u"):
        carrier = json.loads(json.dumps(dump()))
    with session_context("around", tenant_id="t"):
        with restore(carrier) as bound:
            assert bound == SessionContext("s", "u")
            assert bound.provenance("user_id") is Provenance.CODE
            identify(user_id="other")
            assert get_session_context() == SessionContext("s", "other")
        assert get_session_context() == SessionContext("around", tenant_id="t")


def test_restore_works_in_async_code_and_once_at_a_time() -> None:
    """
    Restore is a context manager, sync and async, of one block at a time.
    """

    async def run() -> str | None:
        async with restore({"session_id": "s"}):
            return get_session_id()

    assert asyncio.run(run()) == "s"
    block = restore({"session_id": "s"})
    with block, pytest.raises(RuntimeError, match="open already"):
        block.__enter__()
    with block as again:
        assert again.session_id == "s"


@pytest.mark.parametrize(
    ("carrier", "ids"),
    [
        pytest.param({"session_id": "s"}, {"session_id": "s"}, id="text"),
        pytest.param({"session_id": ["s", "minted"]}, {"session_id": "s"}, id="with provenance"),
        pytest.param(
            {"X-SESSION-id": "s", "x-user-id": "u"},
            {"session_id": "s", "user_id": "u"},
            id="headers",
        ),
        pytest.param({"customer_id": "c"}, {"tenant_id": "c"}, id="the other name"),
        pytest.param({"session_id": ["s"]}, {}, id="one in a list"),
        pytest.param({"session_id": ["s", "code", "x"]}, {}, id="three in a list"),
        pytest.param({"session_id": [5, "code"]}, {}, id="a number in a list"),
        pytest.param({"session_id": 5}, {}, id="a number"),
        pytest.param({"session_id": {"a": 1}}, {}, id="a mapping"),
        pytest.param({"session_id": "a\r\nb"}, {}, id="tampered"),
        pytest.param({"session_id": "x" * 5000}, {}, id="oversized"),
        pytest.param({"unknown": "x", 5: "y"}, {}, id="unknown"),
        pytest.param(None, {}, id="None"),
        pytest.param("session_id", {}, id="a text"),
        pytest.param([1, 2], {}, id="a list"),
    ],
)
def test_a_carrier_is_checked_on_arrival(carrier: Any, ids: dict[str, str]) -> None:
    """
    S27: what is tampered, oversized, unknown or of a wrong type is dropped, and nothing raises.
    """
    assert extract(carrier).as_dict() == ids
    with restore(carrier) as bound:
        assert bound.as_dict() == ids


@pytest.mark.parametrize(
    ("entry", "how"),
    [
        pytest.param("u", Provenance.CLIENT, id="none"),
        pytest.param(["u", "peer"], Provenance.PEER, id="known"),
        pytest.param(["u", "root"], Provenance.CLIENT, id="unknown"),
        pytest.param(["u", 5], Provenance.CLIENT, id="a number"),
    ],
)
def test_a_value_without_a_provenance_proves_nothing(entry: Any, how: Provenance) -> None:
    """
    S27: where the queue is trusted, a value has the provenance it names, and else the client's.
    """
    undo = use_policy(Policy(trusted_queue=True))
    try:
        assert extract({"user_id": entry}).provenance("user_id") is how
    finally:
        undo()


@given(st.dictionaries(st.one_of(st.text(max_size=12), st.integers()), st.text(max_size=8)))
def test_hostile_carriers_never_raise(carrier: dict[Any, Any]) -> None:
    """
    S27, S29: no mapping makes extract or restore raise.
    """
    contextvars.Context().run(lambda: restore(carrier).__enter__())
    extract(carrier)


def test_a_dump_stays_small() -> None:
    """
    S27: what would make a carrier longer than 2 KiB is left out whole.
    """
    undo = use_policy(
        Policy(session=session_spec(max_length=1024), extra=[request_spec(max_length=1024)])
    )
    try:
        with session_context("s" * 1024, request_id="r" * 1024, user_id="u"):
            carrier = dump()
    finally:
        undo()
    assert set(carrier) == {"session_id", "user_id"}
    assert len(json.dumps(carrier)) <= 2048
