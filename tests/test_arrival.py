"""
What a carrier brings, and by whose word: provenance, sizes, and mistakes of the code.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import pytest
from multidict import CIMultiDict

from idlanyard import (
    IDSpec,
    Policy,
    Provenance,
    UntrustedID,
    dump,
    extract,
    get_session_context,
    get_user_id,
    request_spec,
    require,
    restore,
    session_context,
    session_spec,
    use_policy,
)
from idlanyard._binding.carriers import make_job_block

CLIENT, PEER = Provenance.CLIENT, Provenance.PEER
WORDS = [provenance.value for provenance in Provenance]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param({"X-User-ID": ["admin", "*"], "Host": ["h"]}, id="lists of lines"),
        pytest.param({"X-User-ID": ("admin", "*")}, id="tuples"),
        pytest.param({"X-User-ID": [b"admin", b"*"]}, id="bytes"),
        pytest.param({"x-user-id": ["admin", "*"], "session_id": ["s", "code"]}, id="mixed"),
        pytest.param([("X-User-ID", ["admin", "*"])], id="a list in pairs"),
        pytest.param([("X-User-ID", "admin"), ("X-User-ID", "*")], id="pairs"),
        pytest.param([(b"x-user-id", b"admin"), (b"x-user-id", b"*")], id="pairs of bytes"),
        pytest.param(CIMultiDict([("X-User-ID", "admin"), ("x-user-id", "*")]), id="multidict"),
        pytest.param({"X-User-ID": "admin", "x-user-id": "*"}, id="two cases"),
        pytest.param({"X-User-ID": "admin", "user_id": "*"}, id="header and name"),
        pytest.param({"customer_id": "*", "tenant_id": "t"}, id="two tenants"),
    ],
)
def test_two_lines_of_a_header_are_none(carrier: Any, word: str) -> None:
    """
    R13, S4: who sends a header twice names neither a user nor a provenance.
    """
    with restore(fill(carrier, word)) as bound:
        assert (bound.user_id, bound.tenant_id) == (None, None)
        assert bound.provenance("session_id") in (None, CLIENT)


def fill(carrier: Any, word: str) -> Any:
    """
    Return the carrier with the word in place of each star.
    """
    if isinstance(carrier, CIMultiDict):
        return CIMultiDict((name, fill(value, word)) for name, value in carrier.items())
    if isinstance(carrier, dict):
        return {name: fill(value, word) for name, value in carrier.items()}
    if isinstance(carrier, list | tuple):
        return type(carrier)(fill(value, word) for value in carrier)
    if isinstance(carrier, bytes):
        return carrier.replace(b"*", word.encode())
    return carrier.replace("*", word)


@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param({"X-User-ID": "u"}, id="a header"),
        pytest.param({"X-User-ID": b"u", "Host": b"h"}, id="bytes"),
        pytest.param({b"x-user-id": b"u"}, id="a name of bytes"),
        pytest.param({"X-User-ID": ["u"], "Host": ["h"]}, id="one line"),
        pytest.param({"X-User-ID": ("u",)}, id="one line in a tuple"),
        pytest.param([("X-User-ID", b"u"), ("trace", b"t")], id="Kafka's pairs"),
        pytest.param((("x-user-id", "u"), ("user-agent", "g")), id="gRPC's metadata"),
        pytest.param(CIMultiDict({"X-User-ID": "u", "Host": "h"}), id="multidict"),
        pytest.param({"user_id": ["u", "peer"], "Host": ["h"]}, id="a name among headers"),
        pytest.param({"user_id": ["u", "signed"], "x": "y"}, id="a dump in a message"),
        pytest.param({"User_ID": ["u", "peer"]}, id="a name in another case"),
        pytest.param({"user_id": ["u", "peer"], 5: "y"}, id="a key that is no text"),
        pytest.param([("user_id", ["u", "peer"])], id="names in pairs"),
        pytest.param({"X-User-ID": "u", "X-Session-ID": None}, id="beside nothing"),
        pytest.param({"X-User-ID": "u", "Cookie": "c" * 9_000}, id="long headers"),
    ],
)
def test_a_header_brings_no_provenance(carrier: Any) -> None:
    """
    R13, S27: outside what dump() returns, a value is the client's word at most.
    """
    with restore(carrier) as bound:
        assert (bound.user_id, bound.provenance("user_id")) == ("u", CLIENT)
        with pytest.raises(UntrustedID):
            require("user_id")


@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param({"user_id": ["a", "b"], "Host": ["h"]}, id="two lines"),
        pytest.param({"user_id": ["u"]}, id="one in a list"),
        pytest.param({"X-User-\u212aD": "u"}, id="another letter"),
        pytest.param({"X-User-ID": ""}, id="empty"),
        pytest.param({"X-User-ID": ["u", ""]}, id="an empty second line"),
        pytest.param({"X-User-ID": "a,b"}, id="joined"),
        pytest.param({"X-User-ID": "\xe9".encode()}, id="bytes that are no ID"),
        pytest.param(["X-User-ID", "u"], id="a flat list"),
        pytest.param([["X-User-ID", "u", "v"]], id="three in a row"),
    ],
)
def test_what_is_not_one_value_is_none(carrier: Any) -> None:
    """
    R7, R13: a value is taken whole or not at all, also out of headers.
    """
    assert extract(carrier).as_dict() == {}


def test_what_dump_made_keeps_its_provenance_under_every_name() -> None:
    """
    R13: the other name of the tenant is a declared one; a header's name never proves.
    """
    spec = IDSpec(name="device", header="device", accept="anyone")
    undo = use_policy(Policy(extra=[spec], trusted_queue=True))
    try:
        found = extract({"customer_id": ["t", "peer"], "device": ["d", "peer"]})
        kept = extract({"user_id": ["u", "peer"]})
    finally:
        undo()
    assert (found.tenant_id, found.provenance("tenant_id")) == ("t", PEER)
    assert (found.get("device"), found.provenance("device")) == ("d", CLIENT)
    assert kept.provenance("user_id") is PEER


def test_a_carrier_under_other_rules_is_said_to_prove_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R6, R13: a consumer without the sender's policy is told what to write, once, and that helps.
    """
    undo = use_policy(Policy(extra=[request_spec()]))
    try:
        with session_context("s", user_id="u", request_id="r"):
            carrier = dump()
        with restore(carrier) as bound:
            assert bound.provenance("user_id") is Provenance.CODE
    finally:
        undo()
    with caplog.at_level(logging.WARNING, "idlanyard"):
        for _ in range(3):
            assert extract(carrier).provenance("user_id") is CLIENT
    (record,) = caplog.records
    assert "use_policy(policy)" in record.getMessage()


def test_a_carrier_longer_than_dump_makes_is_refused_whole() -> None:
    """
    S27: at most 2 KiB, whatever makes it longer; headers may be longer, a job's never.
    """
    good = {"session_id": ["s", "code"]}
    assert extract(good | {"user_id": "x" * 2048}).as_dict() == {}
    assert extract({"tenant_id": {"deep": ["x" * 2048]}} | good).as_dict() == {}
    with make_job_block({"X-Session-ID": "s", "Cookie": "c" * 2048}, inherit=False):
        assert get_session_context().is_empty()
    with make_job_block({"X-Session-ID": "s", "Cookie": b"c"}, inherit=False):
        assert get_session_context().session_id == "s"


def test_a_carrier_that_has_no_end_is_refused() -> None:
    """
    S27, S29: a carrier inside itself, and one that is very deep, are none.
    """
    inside: dict[str, Any] = {"session_id": "s"}
    inside["user_id"] = inside
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for carrier in (inside, {"session_id": "s", "user_id": deep}):
        assert extract(carrier).as_dict() == {}


@pytest.mark.parametrize("verb", [extract, restore])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"session_id": ["s", "code"]}', id="text"),
        pytest.param(' \n{"session_id": "s"}', id="white space before"),
        pytest.param(b'{"session_id": "s"}', id="bytes"),
        pytest.param(bytearray(b'{"session_id": "s"}'), id="bytearray"),
    ],
)
def test_json_text_is_a_mistake_of_the_code(verb: Any, text: Any) -> None:
    """
    Newcomer, silently accepted: JSON text raises, and what the message says to write works.
    """
    with pytest.raises(TypeError, match=rf"write {verb.__name__}\(json\.loads\(\.\.\.\)\)"):
        verb(text)
    assert extract(json.loads(text)).session_id == "s"


@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param({"session_id": "s"}.items(), id="items"),
        pytest.param(iter([("session_id", "s")]), id="an iterator"),
        pytest.param(object(), id="an object"),
    ],
)
def test_a_type_that_no_message_has_is_a_mistake_of_the_code(carrier: Any) -> None:
    """
    R14: a type that JSON never becomes raises, with what to write.
    """
    with pytest.raises(TypeError, match=r"write restore\(dict\(\.\.\.\)\)"):
        restore(carrier)
    with make_job_block(carrier, inherit=False):
        assert get_session_context().is_empty()


def test_what_the_message_on_types_says_to_write_works() -> None:
    """
    R14: the pairs of a mapping, made one, are accepted.
    """
    assert extract(dict({"session_id": "s"}.items())).session_id == "s"


@pytest.mark.parametrize("carrier", ["session_id", b"s", 5, True, 0.5])
def test_what_a_sender_may_have_written_raises_nothing(
    carrier: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    S27: any JSON that is no mapping binds nothing, and that is said once.
    """
    with caplog.at_level(logging.WARNING, "idlanyard"), session_context("around"):
        for _ in range(2):
            with restore(carrier) as bound:
                assert bound.is_empty()
    (record,) = caplog.records
    assert "not a mapping" in record.getMessage()


def test_a_value_that_is_refused_is_said_once_without_it(caplog: pytest.LogCaptureFixture) -> None:
    """
    R6, S8: the warning has the field and the reason, and never the value.
    """
    with caplog.at_level(logging.WARNING, "idlanyard"):
        for number in range(5):
            extract({"user_id": f"bad value {number}", "session_id": "s"})
            extract([("X-User-ID", "a"), ("X-User-ID", "b")])
    first, second = (record.getMessage() for record in caplog.records)
    assert "user_id of a message is refused: character not allowed" in first
    assert "given more than once" in second
    assert "bad value" not in first


def test_a_policy_without_tenants_reads_none() -> None:
    """
    An ID that is left out is in no carrier.
    """
    undo = use_policy(Policy(tenant=None))
    try:
        assert extract({"customer_id": "c", "tenant_id": "t", "user_id": "u"}).as_dict() == {
            "user_id": "u"
        }
    finally:
        undo()


@pytest.mark.parametrize(
    ("context", "user"),
    [
        pytest.param({"user_id": "alice"}, "alice", id="text"),
        pytest.param({"user_id": ["alice", "peer"]}, "alice", id="as dumped"),
        pytest.param({"user_id": ["alice", "peer"], "x": "y" * 2048}, None, id="too long"),
    ],
)
def test_the_variable_of_a_context_is_read_whole(context: Any, user: str | None) -> None:
    """
    R7, S27: a value in IDLANYARD_CONTEXT is never cut, and 2 KiB are the most.
    """
    os.environ["IDLANYARD_CONTEXT"] = json.dumps(context)
    try:
        assert get_user_id() == user
        found = get_session_context().provenance("user_id")
        assert found is (Provenance.ENVIRONMENT if user else None)
    finally:
        del os.environ["IDLANYARD_CONTEXT"]


def test_a_long_session_still_fits() -> None:
    """
    S27: what dump() returns, at its longest, comes back whole.
    """
    undo = use_policy(Policy(session=session_spec(max_length=1024)))
    try:
        with session_context("s" * 1024, user_id="u" * 255, tenant_id="t" * 255):
            carrier = dump()
        assert extract(json.loads(json.dumps(carrier))).as_dict().keys() == carrier.keys()
    finally:
        undo()
