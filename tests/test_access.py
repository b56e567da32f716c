"""
Reading what is in force, and asking for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import (
    UNSET,
    MissingID,
    Policy,
    PolicyError,
    Provenance,
    SessionContext,
    UntrustedID,
    clear_session_context,
    effective_session_id,
    get_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    identify,
    new_session_id,
    process_session_id,
    request_spec,
    require,
    rotate_session_id,
    session_context,
    session_key,
    session_spec,
    set_session_context,
    set_session_id,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import attach_to_error, get_binding, ids_of_error, make_request_ids
from idlanyard._policy.policy import checked_policy
from idlanyard.asgi import SessionContextMiddleware


def in_request(body: Any, policy: Policy, *headers: tuple[bytes, bytes]) -> None:
    """
    Run *body* inside a request from a trusted peer.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body()

    async def run() -> None:
        scope = {"type": "http", "path": "/", "headers": [*headers], "client": ("10.0.0.5", 1)}
        await SessionContextMiddleware(app, policy)(scope, None, None)

    asyncio.run(run())


def test_getters_take_a_default() -> None:
    """
    A getter returns the ID in force here, or the default.
    """
    assert (get_session_id("-"), get_user_id("-"), get_tenant_id("-")) == ("-", "-", "-")
    with session_context("s", "u", "t"):
        assert (get_session_id("-"), get_user_id("-"), get_tenant_id("-")) == ("s", "u", "t")
        assert (get_id("user_id"), get_id("customer_id")) == ("u", "t")
    with pytest.raises(TypeError, match="'device_id' is not a declared ID"):
        get_id("device_id")


def test_require_asks_for_what_the_rules_ask_for() -> None:
    """
    R6, S18: a session of any provenance will do; a user needs proof; True asks for more.
    """
    policy = Policy(user=user_spec(accept="anyone"), trusted_peers=["10.0.0.5"])

    def body() -> None:
        assert require("session_id") == "s"
        assert require("user_id") == "u"
        assert require("customer_id", proven=True) == "t"
        with pytest.raises(UntrustedID, match="CLIENT") as caught:
            require("user_id", proven=True)
        assert (caught.value.name, caught.value.provenance) == ("user_id", Provenance.CLIENT)

    lines = [(b"x-session-id", b"s"), (b"x-user-id", b"u"), (b"x-tenant-id", b"t")]
    in_request(body, policy, *lines)
    with pytest.raises(MissingID, match="user_id is not bound here") as missing:
        require("user_id")
    assert missing.value.name == "user_id"
    with pytest.raises(TypeError, match="not a declared ID"):
        require("device_id")


@pytest.mark.parametrize(
    "error",
    [
        MissingID("user_id"),
        UntrustedID("user_id", Provenance.CLIENT),
        PolicyError.about("echo", "is wrong", 5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_with_their_evidence(error: Exception) -> None:
    """
    House rules: errors have one root, carry their evidence and can be pickled.
    """
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda: identify(user_id="a b"), "user_id is refused", id="identify"),
        pytest.param(
            lambda: set_session_context(tenant_id="a,b"), "tenant_id is refused", id="set"
        ),
        pytest.param(lambda: set_session_id("\x1b[31m"), "session_id is refused", id="set one"),
        pytest.param(lambda: SessionContext("a\nb"), "session_id is refused", id="a snapshot"),
    ],
)
def test_values_from_code_are_checked_where_they_are_set(change: Any, message: str) -> None:
    """
    R7, S7: a value from code that is no ID raises there, and is not repeated.
    """
    with pytest.raises(ValueError, match=message) as caught:
        change()
    assert not any(piece in str(caught.value) for piece in ("a b", "a,b", "\x1b", "a\nb"))


def test_unknown_and_wrong_typed_ids_are_the_callers_error() -> None:
    """
    R7: an ID that is not declared, and a number, are TypeErrors that say what to write.
    """
    with pytest.raises(TypeError, match="write session_id"):
        identify(sesion_id="typo")
    with pytest.raises(TypeError, match=r"write str\(\.\.\.\)"):
        identify(user_id=7)  # type: ignore[arg-type]


def test_outside_a_request_identify_is_set_session_context() -> None:
    """
    R2.3: with no scope, identify binds here and below, and removes likewise.
    """

    def check() -> None:
        identify(user_id="u", session_id="s")
        assert get_session_context() == SessionContext("s", "u")
        identify(user_id=UNSET, session_id=UNSET)
        assert get_session_context().is_empty()
        assert get_session_id() != rotate_session_id() == get_session_id()
        clear_session_context()
        assert get_session_context().is_empty()

    contextvars.Context().run(check)


def test_ids_are_minted_by_the_policy_in_force() -> None:
    """
    R15: new_session_id and rotate_session_id use the session's own generator.
    """
    undo = use_policy(Policy(session=session_spec(mint=lambda: "fresh")))
    try:
        assert new_session_id() == "fresh"
    finally:
        undo()
    assert len(new_session_id()) == 32


def test_a_snapshot_is_an_immutable_value() -> None:
    """
    A snapshot is frozen, hashable, equal by its IDs, and says what it has.
    """
    one = SessionContext("s", customer_id="t", device_id="d")
    assert (one.session_id, one.user_id, one.tenant_id, one.customer_id) == ("s", None, "t", "t")
    assert (one.device_id, one.get("device_id"), one.get("customer_id")) == ("d", "d", "t")
    assert (one.get("missing"), one.provenance("missing")) == (None, None)
    assert one.provenance("customer_id") is Provenance.CODE
    assert one == SessionContext("s", tenant_id="t", device_id="d")
    assert one != SessionContext("s") != "s"
    assert hash(one) == hash(SessionContext("s", tenant_id="t", device_id="d"))
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.copy(one) is copy.deepcopy(one) is one
    assert one.as_attributes() == {"session.id": "s", "customer.id": "t", "device.id": "d"}
    with pytest.raises(AttributeError, match="does not change"):
        del one.session_id
    with pytest.raises(AttributeError, match="does not change"):
        one.session_id = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="does not change"):
        one.device_id = "other"
    assert (SessionContext().is_empty(), one.is_empty()) == (True, False)
    with pytest.raises(AttributeError, match="no ID is called 'missing'"):
        one.missing  # noqa: B018
    with pytest.raises(TypeError, match="name one ID"):
        SessionContext(tenant_id="a", customer_id="b")


def test_a_snapshot_shows_what_the_sinks_allow() -> None:
    """
    S25: repr and attributes show the clear value, its keyed hash or nothing, as declared.
    """
    policy = Policy(
        user=user_spec(log="hash", span="omit"),
        tenant=tenant_spec(log="omit", span="hash"),
        hash_keys=[("k1", "k" * 32)],
    )
    undo = use_policy(policy)
    try:
        with session_context("s", "alice", "acme") as bound:
            shown, attributes = repr(bound), bound.as_attributes()
    finally:
        undo()
    hashed = checked_policy(policy).pseudonym("user_id", "alice")
    assert shown == f"SessionContext(session_id='s', user_id='{hashed}', tenant_id=<omitted>)"
    assert attributes == {
        "session.id": "s",
        "customer.id": checked_policy(policy).pseudonym("tenant_id", "acme"),
    }


def test_a_copy_shows_no_more_than_the_snapshot() -> None:
    """
    S25: copying a snapshot, shallow or deep, keeps what its sinks hide.
    """
    undo = use_policy(Policy(user=user_spec(log="omit", span="omit")))
    try:
        with session_context("s", "alice") as bound:
            copies = [bound, copy.copy(bound), copy.deepcopy({"deep": bound})["deep"]]
    finally:
        undo()
    for one in copies:
        assert repr(one) == "SessionContext(session_id='s', user_id=<omitted>)"
        assert one.as_attributes() == {"session.id": "s"}


def test_a_pickled_snapshot_keeps_who_vouches() -> None:
    """
    A pickled snapshot has the same IDs with the same provenance, and is still frozen.
    """

    def body() -> None:
        again = pickle.loads(pickle.dumps(get_session_context()))
        assert again == get_session_context()
        assert again.provenance("session_id") is Provenance.CLIENT
        assert again.provenance("user_id") is Provenance.PEER
        with pytest.raises(AttributeError, match="does not change"):
            again.user_id = "other"

    policy = Policy(trusted_peers=["10.0.0.5"])
    in_request(body, policy, (b"x-session-id", b"s"), (b"x-user-id", b"u"))


def test_a_process_has_one_session_of_its_own() -> None:
    """
    R15: threads that ask at one moment get one process-wide ID, which is never bound.
    """
    meeting = threading.Barrier(8, timeout=30)

    def ask(_: int) -> str:
        meeting.wait()
        return process_session_id()

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(ask, range(8)))
    assert found == {process_session_id()}
    assert (len(process_session_id()), get_session_id()) == (32, None)


def test_the_effective_session_is_bound_or_environment_or_process_wide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    R5: what is bound here, else the environment, else the process-wide ID.
    """
    assert effective_session_id() == process_session_id()
    monkeypatch.setenv("IDLANYARD_SESSION_ID", "environment")
    assert effective_session_id() == "environment"
    with session_context("bound"):
        assert effective_session_id() == "bound"
    with session_context(session_id=UNSET):
        assert effective_session_id() == process_session_id()


def test_a_session_key_tells_users_apart() -> None:
    """
    S9: two users who send the same session have two keys, and nobody has no user's.
    """
    keys: list[str] = []
    for user in ("alice", "bob", None):
        with session_context("s1", user_id=user or UNSET, tenant_id="acme"):
            keys.append(session_key())
    assert keys == ["acme/alice/s1", "acme/bob/s1", "acme//s1"]


IDS = st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9_.~:@/+=|]{0,5}", fullmatch=True)


@given(st.lists(st.tuples(IDS, IDS, IDS)))
def test_session_keys_do_not_collide(triples: list[tuple[str, str, str]]) -> None:
    """
    S9: no two triples of IDs have the same key, whatever characters they have.
    """
    keys: set[str] = set()
    for tenant, user, session in set(triples):
        with session_context(session, user_id=user, tenant_id=tenant):
            keys.add(session_key())
    assert len(keys) == len(set(triples))


def test_a_session_key_needs_a_session_and_a_proven_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A key without a session would be shared, and so would one of a user that nobody has proven.
    """
    with pytest.raises(MissingID, match="session_id"):
        session_key()
    with session_context("s1"):
        assert session_key() == "//s1"
        monkeypatch.setenv("IDLANYARD_USER_ID", "alice")
        with pytest.raises(UntrustedID, match="user_id"):
            session_key()


def test_declared_and_absent_reads_as_none() -> None:
    """
    A declared ID that the request lacks is None on the snapshot.
    """

    def body() -> None:
        context = get_session_context()
        assert context.request_id is None
        assert (get_id("request_id"), context.provenance("request_id")) == (None, None)

    in_request(body, Policy(extra=[request_spec(mint=None)]))


def test_constants_and_nodes_say_what_they_are() -> None:
    """
    Design, section 1: UNSET says its name; what a scope does not declare is absent.
    """
    assert repr(UNSET) == "UNSET"
    scope = make_request_ids(DEFAULT_POLICY, {"user_id": ("u", Provenance.CODE)})
    assert scope.look_up("user_id") == ("u", Provenance.CODE)
    assert scope.look_up("device_id") == (None, None)
    assert get_binding().policy is DEFAULT_POLICY
    error = ValueError()
    attach_to_error(error, scope)
    assert ids_of_error(error) == SessionContext(user_id="u")
    assert ids_of_error(ValueError()) is None
