"""
``Policy`` and ``IDSpec``: their defaults, and the message for each wrong option.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import (
    EVERYONE,
    Cookie,
    Header,
    IDSpec,
    Policy,
    PolicyError,
    Subdomain,
    request_spec,
    session_context,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._policy import request
from idlanyard._policy.default_specs import IDSpecChanges
from idlanyard._policy.policy import checked_policy
from idlanyard._policy.spec import POLICY_OPTIONS as POLICY_OPTIONS_OF_NO_ID
from idlanyard.ids import token

SECRET = "s" * 32


@pytest.mark.parametrize(
    ("spec", "header", "accept", "mints", "attribute"),
    [
        pytest.param(session_spec(), "X-Session-ID", "anyone", True, "session.id", id="session"),
        pytest.param(user_spec(), "X-User-ID", "proven", False, "user.id", id="user"),
        pytest.param(tenant_spec(), "X-Tenant-ID", "proven", False, "customer.id", id="tenant"),
        pytest.param(request_spec(), "X-Request-ID", "anyone", True, "request.id", id="request"),
        pytest.param(
            IDSpec(name="device_id", header="X-Device-ID"),
            "X-Device-ID",
            "proven",
            False,
            "device.id",
            id="further",
        ),
    ],
)
def test_the_defaults_are_those_of_the_design(
    spec: IDSpec, header: str, accept: str, mints: bool, attribute: str
) -> None:
    """
    Each default spec has the header, proof, generator and attribute of the documentation.
    """
    assert (spec.header, spec.accept, spec.mint is token, spec.attribute) == (
        header,
        accept,
        mints,
        attribute,
    )
    assert (spec.echo, spec.forward, spec.propagate, spec.job, spec.baggage) == (
        True,
        True,
        True,
        True,
        False,
    )
    assert (spec.log, spec.span, spec.on_invalid, spec.required) == (
        "clear",
        "clear",
        "drop",
        False,
    )
    assert spec.sources == (Header(header),)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"name": "Device"}, "is no ID: write lower-case", id="name"),
        pytest.param({"name": 5}, "is no ID", id="name number"),
        pytest.param({"name": "as_dict"}, "is taken", id="taken"),
        pytest.param({"header": "X Device"}, "is no header name", id="header"),
        pytest.param({"header": "Authorization"}, "has a meaning of its own", id="taken header"),
        pytest.param({"header": "Content_Length"}, "has a meaning of its own", id="its alias"),
        pytest.param({"sources": "X-Device-ID"}, r"write sources=\['X-Device-ID'\]", id="text"),
        pytest.param({"sources": Cookie("a")}, "is a list", id="one source"),
        pytest.param({"sources": 5}, "is a list", id="number"),
        pytest.param({"sources": [5]}, "write a header's name", id="number inside"),
        pytest.param({"sources": ["Cookie"]}, "has a meaning of its own", id="taken source"),
        pytest.param({"sources": [Subdomain("a.b")]}, "client's own word", id="unprovable"),
        pytest.param({"sources": ["X-A", Cookie("a")]}, "client's own word", id="a mix of proofs"),
        pytest.param({"accept": "all"}, "write 'anyone' or 'proven'", id="accept"),
        pytest.param({"required": 1}, "write True or False", id="required"),
        pytest.param({"on_invalid": "ignore"}, "write 'drop' or 'reject'", id="on_invalid"),
        pytest.param({"mint": True}, "takes a function", id="mint"),
        pytest.param({"mint": lambda: 5}, "returns int", id="mint of a number"),
        pytest.param({"mint": lambda: "a b"}, "character not allowed", id="mint of no ID"),
        pytest.param({"mint": lambda: 1 / 0}, "raises ZeroDivisionError", id="mint that raises"),
        pytest.param({"must_match": "x"}, "takes a function", id="must_match"),
        pytest.param({"charset": "ascii"}, "re.compile", id="charset"),
        pytest.param({"charset": re.compile(b"a")}, "re.compile", id="pattern of bytes"),
        pytest.param({"max_length": 0}, "from 1 to 1024", id="no length"),
        pytest.param({"max_length": 1025}, "from 1 to 1024", id="long"),
        pytest.param({"max_length": True}, "from 1 to 1024", id="length of a bool"),
        pytest.param({"echo": "sometimes"}, "write True or False or 'always'", id="echo"),
        pytest.param({"log": "plain"}, "write 'clear' or 'hash' or 'omit'", id="log"),
        pytest.param({"span": None}, "write 'clear' or 'hash' or 'omit'", id="span"),
    ],
)
def test_a_wrong_id_spec_says_what_to_write(changes: dict[str, Any], sentence: str) -> None:
    """
    R14: a wrong option of an ID raises PolicyError when built, naming the remedy.
    """
    with pytest.raises(PolicyError, match=sentence):
        IDSpec(**({"name": "device_id", "header": "X-Device-ID"} | changes))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param({"session": user_spec()}, r"takes session_spec\(...\) or None", id="other"),
        pytest.param({"user": "X-User-ID"}, r"takes user_spec\(...\) or None", id="text"),
        pytest.param({"extra": request_spec()}, "is a list: write extra", id="one extra"),
        pytest.param({"extra": "request_id"}, r"write extra=\[request_spec\(\)\]", id="text extra"),
        pytest.param({"extra": ["request_id"]}, "is a list of IDSpec", id="text inside extra"),
        pytest.param({"extra": [request_spec()] * 2}, "declares request_id twice", id="twice"),
        pytest.param({"extra": [session_spec()]}, "declares session_id twice", id="standard"),
        pytest.param(
            {"extra": [IDSpec(name="device_id", header="x_user_id")]}, "serves user_id", id="header"
        ),
        pytest.param(
            {"shared_secret": ("X-User-ID", SECRET)}, "serves user_id and shared_secret", id="role"
        ),
        pytest.param({"shared_secret": SECRET}, r"is \(header, secret\)", id="secret alone"),
        pytest.param({"shared_secret": ("X-P", "short")}, "at least 32 bytes", id="short"),
        pytest.param({"shared_secret": ("X-P", [SECRET, "short"])}, "at least 32", id="one short"),
        pytest.param({"shared_secret": ("X-P", [])}, "takes text or bytes", id="no secret"),
        pytest.param({"shared_secret": ("X-P", [5])}, "takes text or bytes", id="number"),
        pytest.param({"shared_secret": ("X-P", 5)}, "is a list", id="number alone"),
        pytest.param({"shared_secret": ("Cookie", SECRET)}, "meaning of its own", id="taken"),
        pytest.param({"exclude": "/health"}, r"write exclude=\['/health'\]", id="one path"),
        pytest.param(
            {"exclude": ["health"]},
            "has 'health', which is no path: write '/health'",
            id="no slash",
        ),
        pytest.param({"exclude": [5]}, "write paths as text, such as '/health'", id="no path"),
        pytest.param({"expose": "yes"}, "is True or False", id="expose"),
        pytest.param({"enabled": None}, "is True or False", id="enabled"),
        pytest.param({"user": user_spec(log="hash")}, "can be guessed", id="hash without key"),
        pytest.param({"hash_keys": {"k1": SECRET}}, "is a list of pairs", id="mapping"),
        pytest.param({"hash_keys": [SECRET]}, "is a list of pairs", id="key alone"),
        pytest.param({"hash_keys": [("k 1", SECRET)]}, "names each key", id="key name"),
        pytest.param({"hash_keys": [("k1", "short")]}, "at least 32 bytes", id="short key"),
        pytest.param({"hash_keys": [("k1", 5)]}, "takes text or bytes", id="key of a number"),
    ],
)
def test_a_wrong_policy_says_what_to_write(options: dict[str, Any], sentence: str) -> None:
    """
    R14: a wrong option raises PolicyError when built, naming the remedy and no secret.
    """
    with pytest.raises(PolicyError, match=sentence) as caught:
        Policy(**options)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.value)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just(object()),
)
SILENT = ("", "None")


def refusal(build: Callable[[], object]) -> str | None:
    """
    Return the message of the PolicyError that *build* raises, or None.
    """
    try:
        build()
    except PolicyError as error:
        return str(error)
    return None


POLICY_OPTIONS = [field.name for field in dataclasses.fields(Policy) if field.init]
SPEC_OPTIONS = [field.name for field in dataclasses.fields(IDSpec) if field.init]


@given(st.dictionaries(st.sampled_from(POLICY_OPTIONS), ANYTHING, max_size=3))
def test_any_policy_is_built_or_refused_with_a_sentence(options: dict[str, Any]) -> None:
    """
    R14: whatever is given, a policy is built or raises PolicyError, and nothing else.
    """
    assert refusal(lambda: Policy(**options)) not in SILENT


@given(st.dictionaries(st.sampled_from(SPEC_OPTIONS), ANYTHING, max_size=3))
def test_any_spec_is_built_or_refused_with_a_sentence(options: dict[str, Any]) -> None:
    """
    R14: whatever is given, a spec is built or raises PolicyError, and nothing else.
    """
    options = {"name": "device_id", "header": "X-Device-ID"} | options
    assert refusal(lambda: IDSpec(**options)) not in SILENT


def test_no_secret_is_shown() -> None:
    """
    S1, S25: the repr of a policy has neither the shared secret nor a hash key.
    """
    policy = Policy(shared_secret=("X-Proxy-Secret", SECRET), hash_keys=[("k1", "k" * 32)])
    assert SECRET not in repr(policy)
    assert "kkk" not in repr(policy)


def test_policies_are_values() -> None:
    """
    Policies are frozen, and equal if their options are.
    """
    policy = Policy(trusted_peers=["10.0.0.0/8"], exclude=["/health"])
    assert policy == Policy(trusted_peers=("10.0.0.0/8",), exclude=("/health",))
    assert dataclasses.replace(policy, exclude=()) == Policy(trusted_peers=["10.0.0.0/8"])
    assert hash(policy) == hash(dataclasses.replace(policy))
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.expose = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("build", "what"),
    [
        pytest.param(lambda: Policy(trusted_peers=EVERYONE), "=EVERYONE believes", id="constant"),
        pytest.param(lambda: Policy(trusted_peers=["::/0"]), "every public address", id="network"),
        pytest.param(
            lambda: Policy.from_env({"IDLANYARD_TRUSTED_PEERS": "0.0.0.0/1,128.0.0.0/1"}),
            "every public address",
            id="environment",
        ),
    ],
)
def test_everyone_warns(
    build: Callable[[], Policy], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: believing everyone, in whatever spelling, warns through the logger when built.
    """
    with caplog.at_level(logging.WARNING, "idlanyard"):
        build()
    assert [record.name for record in caplog.records] == ["idlanyard"]
    assert what in caplog.text


UNSET_SECRETS: list[Any] = [
    *(("X-P", None), ("X-P", ""), ("X-P", b""), ("X-P", [None]), ("X-P", [SECRET, None])),
    *((None, SECRET), ("", SECRET)),
]


@pytest.mark.parametrize("given", UNSET_SECRETS, ids=range(len(UNSET_SECRETS)))
def test_a_secret_that_is_not_set_is_said_to_be(given: Any) -> None:
    """
    R14: a header or secret of an environment variable that is missing is said to be missing.
    """
    with pytest.raises(PolicyError, match=r"is the variable set\?") as caught:
        Policy(shared_secret=given)
    assert SECRET not in str(caught.value)


ODD = "odd/" + "s" * 32
ODD_SECRETS: list[tuple[Any, str]] = [
    ((SECRET, "X-Proxy-Secret"), "turn them around"),
    ((ODD, "X-Proxy-Secret"), "turn them around"),
    ((ODD, ODD), "whose name is none"),
    ((ODD, [SECRET]), "whose name is none"),
    (f"X-Proxy-Secret:{SECRET}", "not one text with a colon"),
    (SECRET, r"is \(header, secret\)"),
    ({"X-Proxy-Secret": SECRET}, r"is \(header, secret\)"),
    (("X-P", SECRET, SECRET), r"is \(header, secret\)"),
    ((b"X-Proxy-Secret", SECRET), "as text, not bytes"),
    (("HTTP_X_PROXY_SECRET", SECRET), "use 'X-Proxy-Secret'"),
    (("traceparent", SECRET), "meaning of its own"),
    (("X-P", SECRET + "\n"), "end of its line"),
    (("X-P", " " + SECRET), "white space"),
    (("X-P", [SECRET, f"a\0{SECRET}"]), "control character"),
]


@pytest.mark.parametrize(("given", "sentence"), ODD_SECRETS, ids=range(len(ODD_SECRETS)))
def test_no_message_repeats_a_secret(given: Any, sentence: str) -> None:
    """
    S1: no message about a wrong shared secret has a part of it, wherever it was written.
    """
    with pytest.raises(PolicyError, match=sentence) as caught:
        Policy(shared_secret=given)
    error = caught.value
    told = [str(error), repr(error.value), repr(error.__context__), repr(error.__cause__)]
    assert not any(secret in text for secret in (SECRET, ODD) for text in told)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        pytest.param([("k1", None)], r"is the variable set\?", id="None"),
        pytest.param([("k1", "")], r"is the variable set\?", id="empty"),
        pytest.param([(SECRET + "/", "k1")], "names each key", id="turned around"),
        pytest.param([("k1", SECRET), ("k1", SECRET[::-1] + "x")], "one name", id="twice"),
        pytest.param([("k1", SECRET + "\n")], r"key\.strip", id="a line feed"),
        pytest.param(5, "is a list of pairs", id="number"),
    ],
)
def test_no_message_repeats_a_key(keys: Any, sentence: str) -> None:
    """
    S25: no message about wrong hash keys has a part of a key.
    """
    with pytest.raises(PolicyError, match=sentence) as caught:
        Policy(hash_keys=keys)
    assert SECRET not in str(caught.value)


def test_each_option_is_known_to_the_other_rules() -> None:
    """
    The type of spec changes has every option of IDSpec, and IDSpec knows those of Policy.
    """
    changes = {**get_type_hints(IDSpecChanges, None, vars(request))}
    options = get_type_hints(IDSpec, None, vars(request))
    assert changes == {name: options[name] for name in SPEC_OPTIONS if name != "name"}
    assert {*POLICY_OPTIONS_OF_NO_ID} == {*POLICY_OPTIONS} - {"session", "user", "tenant"}


def test_the_policy_outside_requests_can_be_given_and_taken_back() -> None:
    """
    R10: use_policy declares IDs outside requests, and its undo takes just that use back.
    """
    policy = Policy(extra=[request_spec()])
    first, second = use_policy(policy), use_policy(policy)
    first()
    first()
    with session_context(request_id="r1") as bound:
        assert bound.as_dict() == {"request_id": "r1"}
    second()
    with pytest.raises(TypeError, match="not a declared ID"), session_context(request_id="r1"):
        pass
    with pytest.raises(TypeError, match="takes a Policy"):
        use_policy({})  # type: ignore[arg-type]


def test_an_id_left_out_may_still_be_bound_by_code() -> None:
    """
    A policy without a session reads none from requests; code still binds and mints one.
    """
    policy = checked_policy(Policy(session=None))
    assert policy.check("session_id").reason("s") is None
    assert len(policy.mint("session_id")) == 32


def test_a_generator_that_fails_later_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """
    R7: a generator whose later value is refused gives way to the default mint.
    """
    made = iter(["good"])
    policy = checked_policy(Policy(session=session_spec(mint=lambda: next(made, "not an id"))))
    assert [len(policy.mint("session_id")) for _ in range(2)] == [32, 32]
    assert "mint of session_id failed" in caplog.text
    assert "not an id" not in caplog.records[0].getMessage()


def test_a_hash_is_keyed_by_field_and_key() -> None:
    """
    S25: a hash names its key, is stable, and differs by key and by field.
    """
    one = checked_policy(Policy(hash_keys=[("k1", "a" * 32), ("k0", b"b" * 32)]))
    other = checked_policy(Policy(hash_keys=[("k2", "c" * 32)]))
    hashed = one.pseudonym("user_id", "alice")
    assert re.fullmatch(r"k1:[0-9a-f]{32}", hashed)
    assert hashed == one.pseudonym("user_id", "alice")
    assert hashed != one.pseudonym("session_id", "alice")
    assert hashed[3:] != other.pseudonym("user_id", "alice")[3:]


def test_a_policy_is_built_once() -> None:
    """
    Neither a policy nor its checked form can be changed.
    """
    policy = Policy()
    for target in (policy, checked_policy(policy)):
        with pytest.raises(AttributeError, match="cannot assign"):
            target.expose = True  # type: ignore[misc]
    assert not policy.expose
