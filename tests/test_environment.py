"""
What the environment may say.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable

import pytest

from idlanyard import (
    EVERYONE,
    UNSET,
    MissingID,
    Policy,
    PolicyError,
    Provenance,
    UntrustedID,
    effective_session_id,
    get_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    require,
    session_context,
    without,
)

SECRET = "s" * 32


def with_environment(values: dict[str, str], check: Callable[[], None]) -> None:
    """
    Run *check* while the environment has *values*.
    """
    before = dict(os.environ)
    os.environ.update(values)
    try:
        contextvars.Context().run(check)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(
    ("environ", "policy"),
    [
        pytest.param({}, Policy(), id="nothing"),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": " 10.0.0.0/8, unix ,"},
            Policy(trusted_peers=["10.0.0.0/8", "unix"]),
            id="peers",
        ),
        pytest.param(
            {"IDLANYARD_QUEUE_KEYS": f"{SECRET}2, {SECRET},"},
            Policy(queue_keys=[f"{SECRET}2", SECRET]),
            id="keys of a queue",
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_QUEUE": "yes"}, Policy(trusted_queue=True), id="a trusted queue"
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": "Everyone"}, Policy(trusted_peers=EVERYONE), id="everyone"
        ),
        pytest.param(
            {"IDLANYARD_SHARED_SECRET": f"X-Proxy-Secret: {SECRET}, {SECRET}2"},
            Policy(shared_secret=("X-Proxy-Secret", [SECRET, SECRET + "2"])),
            id="secrets",
        ),
        pytest.param({"IDLANYARD_ENABLED": "off"}, Policy(enabled=False), id="off"),
        pytest.param({"IDLANYARD_ENABLED": " TRUE "}, Policy(), id="on"),
    ],
)
def test_the_environment_describes_a_policy(environ: dict[str, str], policy: Policy) -> None:
    """
    The three variables are read as they say.
    """
    assert Policy.from_env(environ) == policy


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        pytest.param({"IDLANYARD_SHARED_SECRET": SECRET}, "names no header", id="no header"),
        pytest.param({"IDLANYARD_ENABLED": "maybe"}, "write 'true' or 'false'", id="maybe"),
        pytest.param({"IDLANYARD_SHARED_SECRET": f":{SECRET}"}, "no header", id="empty header"),
        pytest.param({"IDLANYARD_SHARED_SECRET": "X-P: ,"}, "names no secret", id="no secret"),
        pytest.param(
            {"IDLANYARD_QUEUE_KEYS": f"{SECRET},short"},
            "^IDLANYARD_QUEUE_KEYS: .* at least 32",
            id="a short key",
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_QUEUE": "maybe"},
            "^IDLANYARD_TRUSTED_QUEUE is 'maybe': write 'true' or 'false'",
            id="no switch of a queue",
        ),
        pytest.param({"IDLANYARD_SHARED_SECRET": "X-P:short"}, "at least 32", id="short secret"),
        pytest.param({"IDLANYARD_SHARED_SECRET": f"{SECRET}:X-P"}, "turn them", id="turned around"),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": "*"},
            r"\(EVERYONE\), write IDLANYARD_TRUSTED_PEERS=everyone$",
            id="wildcard",
        ),
        pytest.param(
            {"IDLANYARD_TRUSTED_PEERS": "10.0.0.5/8"},
            "^IDLANYARD_TRUSTED_PEERS: .* write '10.0.0.0/8'",
            id="host bits",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(environ: dict[str, str], sentence: str) -> None:
    """
    A variable that cannot be understood raises, and no secret is repeated.
    """
    with pytest.raises(PolicyError, match=sentence) as caught:
        Policy.from_env(environ)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("IDLANYARD_TRUSTED_PEER", "IDLANYARD_TRUSTED_PEERS", id="singular"),
        pytest.param("IDLANYARD_TRUSTED_PROXIES", "IDLANYARD_TRUSTED_PEERS", id="others' word"),
        pytest.param("IDLANYARD_SHARED_SECRETS", "IDLANYARD_SHARED_SECRET", id="plural"),
        pytest.param("IDLANYARD_SECRET", "IDLANYARD_SHARED_SECRET", id="half"),
        pytest.param("IDLANYARD_ENABLE", "IDLANYARD_ENABLED", id="a letter"),
        pytest.param("IDLANYARD_TRUSTED", "IDLANYARD_TRUSTED_PEERS", id="peers or a queue"),
        pytest.param("IDLANYARD_QUEUE_KEY", "IDLANYARD_QUEUE_KEYS", id="one key"),
        pytest.param("IDLANYARD_SESSION", "IDLANYARD_SESSION_ID", id="a session"),
        pytest.param("IDLANYARD_CUSTOMER_ID", "IDLANYARD_TENANT_ID", id="an alias"),
        pytest.param("IDLANYARDS_ENABLED", "IDLANYARD_ENABLED", id="the prefix"),
        pytest.param("idlanyard_trusted_peers", "IDLANYARD_TRUSTED_PEERS", id="small letters"),
        pytest.param("IDLANYARD_CONTEXT", None, id="a context"),
        pytest.param("IDLANYARD_USER_ID", None, id="a static ID"),
        pytest.param("IDLANYARD_TEST_REDIS_URL", None, id="of the tests"),
        pytest.param("IDLANYARD_JOBS_BROKER", None, id="of somebody else"),
        pytest.param("TRUSTED_PEER", None, id="not ours"),
    ],
)
def test_a_misspelt_variable_is_told(
    name: str, meant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: a variable that nothing reads and that looks like one of ours is warned about, once.
    """
    assert Policy.from_env({name: "10.0.0.5"}) == Policy()
    told = [f"idlanyard: nothing reads {name}: did you mean {meant}?"] if meant else []
    assert [record.getMessage() for record in caplog.records] == told


def test_static_ids_are_read_where_nothing_is_bound() -> None:
    """
    R5: per ID, what is bound here wins, then the environment, read at call time.
    """

    def check() -> None:
        assert (get_session_id(), get_user_id(), get_tenant_id()) == ("own", None, "customer")
        assert get_session_context().provenance("session_id") is Provenance.ENVIRONMENT
        with session_context(user_id="u") as bound:
            assert bound.as_dict() == {
                "session_id": "own",
                "user_id": "u",
                "tenant_id": "customer",
            }
        with session_context(session_id=UNSET):
            assert get_session_id() is None
        with without():
            assert get_session_id() == "own"
        assert effective_session_id() == "own"

    values = {
        "IDLANYARD_SESSION_ID": "own",
        "OTEL_INSTRUMENTATION_GENAI_SESSION_ID": "otel",
        "OTEL_INSTRUMENTATION_GENAI_CUSTOMER_ID": "customer",
        "IDLANYARD_USER_ID": "not an id",
    }
    with_environment(values, check)


def test_the_environment_proves_nothing() -> None:
    """
    R6: require refuses a user from the environment unless told otherwise.
    """

    def check() -> None:
        with pytest.raises(UntrustedID, match="ENVIRONMENT"):
            require("user_id")
        assert require("user_id", proven=False) == "u"
        with pytest.raises(MissingID):
            require("tenant_id")
        assert get_id("customer_id", "none") == "none"

    with_environment({"IDLANYARD_USER_ID": "u"}, check)


CONTEXT = '{"session_id": ["s1", "minted"], "user_id": ["alice", "peer"]}'


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param(CONTEXT, ("s1", "alice"), id="what dump returned"),
        pytest.param("", (None, None), id="empty"),
        pytest.param("no JSON", (None, None), id="no JSON"),
        pytest.param("[1]", (None, None), id="a list"),
        pytest.param('"text"', (None, None), id="text"),
        pytest.param('{"session_id": []}', (None, None), id="no value"),
        pytest.param('{"session_id": 7, "user_id": [8]}', (None, None), id="numbers"),
        pytest.param('{"session_id": ["a b"]}', (None, None), id="no ID"),
        pytest.param("[" * 8_000, (None, None), id="deep"),
        pytest.param(CONTEXT + " " * 9_000, (None, None), id="long"),
    ],
)
def test_one_variable_carries_a_context(
    context: str, expected: tuple[str | None, str | None]
) -> None:
    """
    IDLANYARD_CONTEXT has what ``dump`` returned; whatever else it has is absent.
    """

    def check() -> None:
        assert (get_session_id(), get_user_id()) == expected
        assert get_session_context().provenance("session_id") == (
            Provenance.ENVIRONMENT if expected[0] else None
        )

    with_environment({"IDLANYARD_CONTEXT": context}, check)


def test_a_variable_of_its_own_goes_before_the_context() -> None:
    """
    IDLANYARD_SESSION_ID wins over IDLANYARD_CONTEXT, field by field.
    """

    def check() -> None:
        assert (get_session_id(), get_user_id()) == ("own", "alice")

    with_environment({"IDLANYARD_CONTEXT": CONTEXT, "IDLANYARD_SESSION_ID": "own"}, check)
