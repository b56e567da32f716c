"""
The IDs of jobs and messages, as proven as a signature or a trusted queue makes them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive import STRANGER, ask_wsgi, environ_of, using
from idlanyard import (
    EVERYONE,
    IDSpec,
    Policy,
    PolicyError,
    Provenance,
    SessionContext,
    UntrustedID,
    dump,
    extract,
    get_session_context,
    ids,
    inject,
    require,
    restore,
    session_context,
    session_spec,
    user_spec,
)
from idlanyard._binding import carrier_proofs
from idlanyard._policy.keys import Signatures
from idlanyard._policy.settings import policy_from_settings
from idlanyard.integrations.custom import bind_job, current_request
from idlanyard.signing import Signer
from idlanyard.wsgi import SessionContextMiddleware

NEW, OLD, OTHER = (f"the {word} key of a queue, at random" for word in ("new", "old", "other"))
CLIENT, CODE, SIGNED = Provenance.CLIENT, Provenance.CODE, Provenance.SIGNED


def sent(user: str = "u", /, **options: Any) -> Any:
    """
    Return the carrier of another process, whose policy has these options.
    """
    with using(**options), session_context("s", user_id=user):
        carrier = json.loads(json.dumps(dump()))
    # As in a forked child, which is another process.
    carrier_proofs._Written.renew()
    return carrier


def how_of(carrier: Any, **options: Any) -> Provenance | None:
    """
    Return the provenance of the user in a receiver whose policy has these options.
    """
    with using(**options):
        context = extract(carrier)
    assert context.session_id == "s"
    return context.provenance("user_id")


@pytest.mark.parametrize(
    ("sender", "receiver", "how"),
    [
        pytest.param({}, {}, CLIENT, id="nothing said"),
        pytest.param({}, {"trusted_queue": True}, CODE, id="trusted"),
        pytest.param({"queue_keys": [NEW]}, {"queue_keys": [NEW]}, CODE, id="signed"),
        pytest.param({"queue_keys": [NEW]}, {"queue_keys": [OLD, NEW]}, CODE, id="the new key"),
        pytest.param({"queue_keys": [OLD]}, {"queue_keys": [NEW, OLD]}, CODE, id="the old key"),
        pytest.param({"queue_keys": [NEW, OLD]}, {"queue_keys": [OLD]}, CLIENT, id="one too new"),
        pytest.param({"queue_keys": [OTHER]}, {"queue_keys": [NEW, OLD]}, CLIENT, id="no key here"),
        pytest.param({}, {"queue_keys": [NEW]}, CLIENT, id="unsigned"),
        pytest.param({"queue_keys": [NEW]}, {}, CLIENT, id="no key to verify with"),
        pytest.param({"trusted_queue": True}, {}, CLIENT, id="trusted by the sender only"),
        pytest.param(
            {"queue_keys": [NEW]}, {"trusted_queue": True}, CODE, id="signed, and trusted anyway"
        ),
        pytest.param(
            {}, {"queue_keys": [NEW], "trusted_queue": True}, CODE, id="unsigned, but trusted"
        ),
        pytest.param(
            {"queue_keys": [OTHER]},
            {"queue_keys": [NEW], "trusted_queue": True},
            CLIENT,
            id="signed by another, where unsigned ones are trusted",
        ),
    ],
)
def test_a_carrier_is_believed_by_its_proof_or_its_queue(
    sender: dict[str, Any], receiver: dict[str, Any], how: Provenance
) -> None:
    """
    S27: another process is believed if a key has signed the carrier, or the queue is trusted.
    """
    carrier = sent(**sender)
    assert how_of(carrier, **receiver) is how
    with using(**receiver):
        with restore(carrier) as bound:
            assert (bound.user_id, bound.provenance("user_id")) == ("u", how)
        with bind_job(carrier):
            assert get_session_context().provenance("user_id") is how
            if how is CODE:
                assert require("user_id") == "u"
            else:
                with pytest.raises(UntrustedID):
                    require("user_id")


def test_only_a_sender_with_keys_signs() -> None:
    """
    One entry is added where there are keys, and neither to a carrier without IDs.
    """
    ids_of_sender = {"session_id": ["s", "code"], "user_id": ["u", "code"]}
    assert sent() == ids_of_sender
    signed = sent(queue_keys=[NEW])
    (proof,) = signed.pop("proof")
    assert signed == ids_of_sender
    text = '[["session_id","s","code"],["user_id","u","code"]]'
    assert proof == hmac.digest(NEW.encode(), f"carrier {text}".encode(), hashlib.sha256).hex()
    with using(queue_keys=[NEW]):
        assert dump() == {}


def change_user(carrier: Any) -> None:
    carrier["user_id"][0] = "v"


def change_provenance(carrier: Any) -> None:
    carrier["user_id"][1] = "peer"


def raise_provenance(carrier: Any) -> None:
    carrier["session_id"][1] = "signed"


def add_tenant(carrier: Any) -> None:
    carrier["tenant_id"] = ["t", "peer"]


def rename_session(carrier: Any) -> None:
    carrier["tenant_id"] = carrier["session_id"]
    carrier["session_id"] = "s"


def rename_user(carrier: Any) -> None:
    carrier["tenant_id"] = carrier.pop("user_id")


def take_anothers_user(carrier: Any) -> None:
    carrier["user_id"] = sent("w", queue_keys=[NEW])["user_id"]


def take_anothers_proof(carrier: Any) -> None:
    carrier["proof"] = sent("w", queue_keys=[NEW])["proof"]


def drop_proof(carrier: Any) -> None:
    del carrier["proof"]


def empty_proof(carrier: Any) -> None:
    carrier["proof"] = [""]


def shorten_proof(carrier: Any) -> None:
    carrier["proof"] = [carrier["proof"][0][:32]]


def raise_case(carrier: Any) -> None:
    carrier["proof"] = [carrier["proof"][0].upper()]


def add_proof(carrier: Any) -> None:
    carrier["proof"] *= 2


def write_proof_as_text(carrier: Any) -> None:
    (carrier["proof"],) = carrier["proof"]


def write_digits_of_others(carrier: Any) -> None:
    carrier["proof"] = ["\u0660" * 64]


def write_a_number(carrier: Any) -> None:
    carrier["proof"] = [5]


def write_null(carrier: Any) -> None:
    carrier["proof"] = None


def write_an_object(carrier: Any) -> None:
    carrier["proof"] = {"0": carrier["proof"][0]}


FORGERIES: list[Callable[[Any], None]] = [
    change_user,
    change_provenance,
    raise_provenance,
    add_tenant,
    rename_session,
    rename_user,
    take_anothers_user,
    take_anothers_proof,
    drop_proof,
    empty_proof,
    shorten_proof,
    raise_case,
    add_proof,
    write_proof_as_text,
    write_digits_of_others,
    write_a_number,
    write_null,
    write_an_object,
]


@pytest.mark.parametrize("forge", [pytest.param(f, id=f.__name__) for f in FORGERIES])
def test_a_forged_carrier_proves_nothing_and_loses_nothing(forge: Callable[[Any], None]) -> None:
    """
    S27: whatever of a signed carrier is changed, added, taken away or mixed, no ID is proven.
    """
    carrier = sent(queue_keys=[NEW])
    forge(carrier)
    with using(queue_keys=[NEW]), restore(carrier) as bound:
        assert bound.session_id == "s"
        assert bound.user_id in {"u", "v", "w"} or bound.tenant_id == "u"
        assert {bound.provenance(name) for name in bound.as_dict()} == {CLIENT}


def test_a_removed_id_is_noticed() -> None:
    """
    S27: without one of its IDs, a signed carrier proves none of the others.
    """
    carrier = sent(queue_keys=[NEW])
    del carrier["session_id"]
    with using(queue_keys=[NEW]):
        assert extract(carrier).provenance("user_id") is CLIENT


def test_lists_may_become_tuples_on_their_way() -> None:
    """
    Serializers other than JSON give tuples back, and another order; the proof holds.
    """
    carrier = {name: tuple(entry) for name, entry in reversed(sent(queue_keys=[NEW]).items())}
    assert how_of(carrier, queue_keys=[NEW]) is CODE


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda text: Signatures("carrier", [NEW.encode()]).sign(text)[-32:], id="ID"),
        pytest.param(lambda text: pseudonym("carrier", text), id="pseudonym"),
        pytest.param(lambda text: pseudonym("carrier ", text), id="a name that there is not"),
        pytest.param(
            lambda text: hmac.digest(
                hmac.digest(NEW.encode(), b"idlanyard carrier", "sha256"), text.encode(), "sha256"
            ).hex(),
            id="header",
        ),
    ],
)
def test_no_other_signature_of_a_key_is_a_proof(other: Callable[[str], str]) -> None:
    """
    S23: one key in several places makes no ID, pseudonym or header that is taken for a proof.
    """
    carrier = sent(queue_keys=[NEW])
    (proof,) = carrier["proof"]
    text = '[["session_id","s","code"],["user_id","u","code"]]'
    assert not proof.startswith(other(text)[:32])


def pseudonym(name: str, value: str) -> str:
    """
    Return what a "hash" sink shows of an ID, without the name of the key.
    """
    return hmac.digest(NEW.encode(), f"{name}:{value}".encode(), "sha256").hex()


@pytest.mark.parametrize("how", Provenance)
def test_what_is_no_proof_stays_as_carried(how: Provenance) -> None:
    """
    R13, S27: only what counts as proven needs a proof; the word of a client or of the environment
    arrives as it was sent.
    """
    context = extract({"user_id": ["u", how.value]})
    assert context.provenance("user_id") is (CLIENT if how.proven else how)


WARNED = {
    "unsigned": ({}, {}, r"Policy\(queue_keys=\[\.\.\.\]\).*trusted_queue=True.*use_policy"),
    "no key": ({"queue_keys": [NEW]}, {}, r"use_policy\(Policy\(queue_keys=\[\.\.\.\]\)\)"),
    "another key": ({"queue_keys": [NEW]}, {"queue_keys": [OLD]}, "add the key of its sender"),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_lost_proof_is_said_once(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    R6: one warning says which ID lost its proof, why, and what to write; it has no value.
    """
    sender, receiver, message = WARNED[case]
    carrier = sent("alice", **sender)
    with caplog.at_level(logging.WARNING, "idlanyard"):
        for _ in range(3):
            how_of(carrier, **receiver)
    (record,) = caplog.records
    caplog.clear()
    assert record.getMessage().startswith("idlanyard: the user_id of a job or message counts as")
    assert re.search(message, record.getMessage())
    assert "alice" not in record.getMessage()


def test_a_session_that_anybody_may_choose_is_lowered_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R6: a job with a minted session and no user works as before, and there is nothing to do.
    """
    with caplog.at_level(logging.WARNING, "idlanyard"):
        assert extract({"session_id": ["s", "minted"]}).provenance("session_id") is CLIENT
    assert not caplog.records


@pytest.mark.parametrize(
    ("sender", "receiver", "how"),
    [
        pytest.param({}, {}, CODE, id="no keys"),
        pytest.param({"queue_keys": [NEW]}, {}, CODE, id="signed, and no key to verify with"),
        pytest.param({"queue_keys": [NEW]}, {"queue_keys": [NEW]}, CODE, id="signed"),
        pytest.param({"queue_keys": [NEW]}, {"queue_keys": [OLD]}, CLIENT, id="no key here"),
        pytest.param({}, {"queue_keys": [NEW]}, CLIENT, id="unsigned, and there are keys"),
    ],
)
def test_a_process_believes_itself(
    sender: dict[str, Any], receiver: dict[str, Any], how: Provenance
) -> None:
    """
    R13, S27: what this process has dumped it believes without keys; with keys, a proof alone.
    """
    with using(**sender), session_context("s", user_id="u"):
        carrier = json.loads(json.dumps(dump()))
    assert [how_of(carrier, **receiver) for _ in range(2)] == [how] * 2


@pytest.mark.parametrize("keys", [None, [NEW]])
@pytest.mark.parametrize("receiver", ["the same process", "another process", "a trusted queue"])
def test_no_carrier_vouches_for_any_client(
    keys: Any, receiver: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    S1, S27: where every peer is trusted, a user of a peer is sent as a client's word, no receiver
    believes it and none signs it; one warning says so, without the value.
    """
    policy = Policy(trusted_peers=EVERYONE, queue_keys=keys)
    caplog.clear()
    lines = ("X-Session-ID", "s"), ("X-User-ID", "root")
    carriers = [dumped_in_request(policy, *lines) for _ in range(2)]
    assert {how for carrier in carriers for _, how in ids_in(carrier)} == {"client"}
    (record,) = caplog.records
    assert re.search("user_id of .* trusts every client: write the networks", record.getMessage())
    assert "root" not in record.getMessage()
    if receiver != "the same process":
        carrier_proofs._Written.renew()
    headers: dict[str, str] = {}
    is_trusted = receiver == "a trusted queue"
    with using(queue_keys=keys, trusted_queue=is_trusted), restore(carriers[0]) as bound:
        signer = Signer(keys=[OTHER])
        inject(headers, to=["https://b.example"], url="https://b.example/", sign=signer)
        assert (bound.user_id, bound.provenance("user_id")) == ("root", CLIENT)
        with pytest.raises(UntrustedID):
            require("user_id")
    assert headers == {"X-Session-ID": "s", "X-User-ID": "root"}


@pytest.mark.parametrize(
    ("peers", "how"),
    [
        pytest.param([STRANGER], "peer", id="the proxy"),
        pytest.param(["0.0.0.0/0"], "client", id="every address"),
    ],
)
def test_a_carrier_vouches_for_named_peers(peers: Any, how: str) -> None:
    """
    R13: a user that a peer of a list has set is sent as such, beside what code has set.
    """
    policy = Policy(trusted_peers=peers)
    carrier = dumped_in_request(policy, ("X-User-ID", "u"), tenant_id="t")
    assert carrier["user_id"] == ["u", how]
    assert carrier["tenant_id"] == ["t", "code"]


def dumped_in_request(policy: Policy, *lines: tuple[str, str], **ids: str) -> Any:
    """
    Return the carrier that code of a request dumps.
    """
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        with session_context(**ids):
            found.append(json.loads(json.dumps(dump())))
        start_response("200 OK", [])
        return []

    ask_wsgi(SessionContextMiddleware(app, policy), environ_of(lines))
    return found[0]


def ids_in(carrier: Any) -> list[tuple[str, str]]:
    """
    Return each value of a carrier and its provenance.
    """
    return [entry for name, entry in carrier.items() if name != "proof"]


def test_a_process_believes_whole_carriers_of_its_own() -> None:
    """
    R13, S27: an ID of one own carrier in another one, or one with another proof, is not believed.
    """
    with session_context("s", user_id="u", tenant_id="t"):
        first = dump()
    with session_context("s", user_id="v"):
        second = dump()
    mixed = second | {"tenant_id": first["tenant_id"]}
    for carrier in (mixed, first | {"user_id": ["v", "code"]}, second | {"proof": ["None"]}):
        assert how_of(carrier) is CLIENT
    assert how_of(first) is how_of(second) is CODE


def test_a_process_remembers_its_latest_carriers() -> None:
    """
    The memory is bounded, and a carrier that is dumped again is among the latest.
    """
    with session_context("s", user_id="u"):
        first = dump()
    with session_context("s", user_id="once"):
        forgotten = dump()
    with session_context("s", user_id="u"):
        dump()
    last = first
    for number in range(carrier_proofs.MOST_REMEMBERED - 1):
        with session_context("s", user_id=f"u{number}"):
            last = dump()
    assert len(carrier_proofs._Written.digests) == carrier_proofs.MOST_REMEMBERED
    assert [how_of(carrier) for carrier in (first, forgotten, last)] == [CODE, CLIENT, CODE]


def test_sessions_alone_push_out_no_user() -> None:
    """
    S27: requests of anonymous clients, however many, leave the carriers with users remembered.
    """
    with session_context("s", user_id="u"):
        carrier = dump()
    sessions: list[Any] = []
    for number in range(carrier_proofs.MOST_REMEMBERED + 1):
        with session_context(f"s{number}"):
            sessions.append(dump())
    assert how_of(carrier) is CODE
    hows = [extract(one).provenance("session_id") for one in (sessions[0], sessions[-1])]
    assert hows == [CLIENT, CODE]


def test_a_carrier_that_proves_nothing_is_not_remembered() -> None:
    """
    The memory is for carriers with proven IDs: others need no belief.
    """
    before = len(carrier_proofs._Written.digests), len(carrier_proofs._Written.anonymous)
    with restore({"X-Session-ID": "of-a-client", "X-User-ID": "of-a-client"}):
        assert extract(dump()).as_dict() == {
            "session_id": "of-a-client",
            "user_id": "of-a-client",
        }
    assert before == (len(carrier_proofs._Written.digests), len(carrier_proofs._Written.anonymous))


def test_threads_remember_all_that_they_dump() -> None:
    """
    S28: carriers that are dumped at once are all believed.
    """

    def dump_many(thread: int) -> list[Any]:
        carriers: list[Any] = []
        for number in range(200):
            with session_context("s", user_id=f"u{thread}.{number}"):
                carriers.append(dump())
        return carriers

    with ThreadPoolExecutor(4) as pool:
        carriers = [one for some in pool.map(dump_many, range(4)) for one in some]
    assert {how_of(carrier) for carrier in carriers} == {CODE}


FORKING = """
import os
from idlanyard import Provenance, dump, extract, session_context
from idlanyard._binding import carrier_proofs

def how_of(carrier):
    return extract(carrier).provenance("user_id")

with session_context("s", user_id="u"):
    carrier = dump()
with carrier_proofs._Written.lock:
    child = os.fork()
    if not child:
        with session_context("s", user_id="u2"):
            own = dump()
        os._exit((how_of(carrier), how_of(own)) != (Provenance.CLIENT, Provenance.CODE))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert how_of(carrier) is Provenance.CODE
"""


def test_a_forked_child_is_another_process() -> None:
    """
    S27: a child that was forked believes its own carriers, and none that its parent has written.
    """
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=60)


def test_a_session_with_a_signature_of_its_own_needs_no_other() -> None:
    """
    S9, S27: under strict rules a session is SIGNED by its own signature, whatever its carrier
    says, and one without a signature is kept as the client's word.
    """
    with using(session=session_spec(signed=[OTHER])):
        signed = Signatures("session_id", [OTHER.encode()]).sign("s")
        for how in ("minted", "peer", "signed", "code"):
            found = extract({"session_id": [signed, how]})
            assert found.provenance("session_id") is SIGNED
            found = extract({"session_id": ["s", how]})
            assert (found.session_id, found.provenance("session_id")) == ("s", CLIENT)
        assert extract({"session_id": signed}).provenance("session_id") is CLIENT
        with session_context("s", user_id="u"):
            assert extract(dump()).provenance("session_id") is CODE


def test_the_proof_is_within_the_limit() -> None:
    """
    S27: with its proof too, a carrier has at most 2 KiB, and is read at its longest.
    """
    specs = [
        IDSpec(name=f"{name}_id", header=f"X-{name}", max_length=1024, mint=ids.token)
        for name in ("first", "second")
    ]
    with using(extra=specs, session=None, user=None, tenant=None, queue_keys=[NEW]):
        overhead = len(json.dumps(sent_ids(first_id="a", second_id="b"))) - 2
        for beyond, kept in ((0, 3), (1, 2)):
            rest = 2048 - overhead - 1024 + beyond
            carrier = sent_ids(first_id="a" * 1024, second_id="b" * rest)
            assert len(carrier) == kept
            assert len(json.dumps(carrier)) <= 2048
            assert extract(carrier).provenance("first_id") is CODE


def sent_ids(**given: str) -> dict[str, Any]:
    """
    Return the carrier of another process with the current policy.
    """
    with session_context(**given):
        carrier = dump()
    carrier_proofs._Written.renew()
    return carrier


def test_a_header_may_be_called_as_the_proof_is() -> None:
    """
    R13: an ID whose header is called Proof is read from headers, and from carriers with a proof.
    """
    spec = IDSpec(name="device_id", header="Proof", accept="anyone")
    with using(extra=[spec], queue_keys=[NEW]):
        carrier = sent_ids(device_id="d", user_id="u")
        assert extract(carrier).as_dict() == {"device_id": "d", "user_id": "u"}
        assert extract(carrier).provenance("user_id") is CODE
        assert extract({"proof": "d"}).as_dict() == {"device_id": "d"}
        assert extract({"proof": "d", "X-User-ID": "u"}).as_dict() == {
            "device_id": "d",
            "user_id": "u",
        }


DEVICE = IDSpec(name="device", header="Device")
GIVEN = {"device": "d", "user_id": "u"}


@pytest.mark.parametrize(
    ("sender", "receiver", "hows"),
    [
        pytest.param({"queue_keys": [NEW]}, {"queue_keys": [NEW]}, {CODE}, id="signed"),
        pytest.param({}, {"queue_keys": [NEW]}, {CLIENT}, id="unsigned"),
        pytest.param({"queue_keys": [NEW]}, {"queue_keys": [OLD]}, {CLIENT}, id="another key"),
        pytest.param({}, {}, {CLIENT}, id="nothing said"),
        pytest.param({}, {"trusted_queue": True}, {CLIENT, CODE}, id="trusted"),
    ],
)
def test_a_header_may_be_called_as_its_id_is(
    sender: dict[str, Any],
    receiver: dict[str, Any],
    hows: set[Provenance],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R13, S27: an ID with the name of its header is as proven as the others of a signed carrier;
    without a signature it may be a header, and the warning says so.
    """
    with using(extra=[DEVICE], **sender):
        carrier = sent_ids(**GIVEN)
    caplog.clear()
    with using(extra=[DEVICE], **receiver):
        found = extract(carrier)
        lines = extract({"Device": ["d", "signed"], "X-User-ID": "u"})
    assert found.as_dict() == GIVEN
    assert {found.provenance(name) for name in GIVEN} == hows
    said = [record.getMessage() for record in caplog.records if "device" in record.getMessage()]
    assert [bool(re.search("its header has the same name", text)) for text in said] == [True] * (
        CLIENT in hows
    )
    assert lines.provenance("device") is CLIENT


def test_a_process_believes_a_header_that_is_called_as_its_id() -> None:
    """
    R13: in one process such an ID has the provenance that it was dumped with.
    """
    with using(extra=[DEVICE]), session_context(**GIVEN):
        found = extract(dump())
    assert {found.provenance(name) for name in GIVEN} == {CODE}


@pytest.mark.parametrize(
    ("options", "how"),
    [
        pytest.param({"queue_keys": [NEW]}, CODE, id="signed"),
        pytest.param({"trusted_queue": True}, CLIENT, id="trusted"),
        pytest.param({}, CLIENT, id="neither"),
    ],
)
def test_a_sender_may_declare_more_ids(options: dict[str, Any], how: Provenance) -> None:
    """
    R13, S27: an ID that the receiver does not know is skipped, and a signature proves the others;
    without one it may be any header.
    """
    with using(extra=[DEVICE], **options):
        carrier = sent_ids(session_id="s", **GIVEN)
    assert how_of(carrier, **options) is how
    with using(**options):
        assert extract(carrier).as_dict() == {"session_id": "s", "user_id": "u"}
        # Signed or not, an unknown ID is not taken for a header of its name.
        with using(user=user_spec(header="Device"), **options):
            assert extract(carrier).user_id == ("u" if how is CODE else None)
    forged = carrier | {"role": ["admin", "code"]}
    assert how_of(forged, **options) is CLIENT


def test_the_ids_of_a_context_keep_their_provenances() -> None:
    """
    R13: a context of this process is bound as it is, as far as the current policy declares it.
    """
    spec = IDSpec(name="device_id", header="X-Device-ID")
    with using(extra=[spec]), restore({"X-Session-ID": "s"}):
        with session_context(user_id="u", device_id="d"):
            context = get_session_context()
        request = current_request()
    assert context.get("device_id") == "d"
    with restore(context) as bound:
        assert bound == SessionContext("s", "u")
        assert bound.provenance("session_id") is CLIENT
        assert bound.provenance("user_id") is CODE
    with restore(request) as bound:
        assert bound.as_dict() == {"session_id": "s"}
    with using(user=user_spec(max_length=3)):
        assert extract(SessionContext("s", "long")).as_dict() == {"session_id": "s"}


def test_a_context_of_those_who_trust_every_client_proves_nothing_to_others() -> None:
    """
    S1, S27: a peer's word is the client's where another policy reads the context, or a process.
    """
    everyone = Policy(trusted_peers=EVERYONE)
    found: list[SessionContext] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        found.append(get_session_context())
        start_response("200 OK", [])
        return []

    ask_wsgi(SessionContextMiddleware(app, everyone), environ_of([("X-User-ID", "root")]))
    [context] = found
    assert context.provenance("user_id") is Provenance.PEER
    with restore(context) as bound:
        assert (bound.user_id, bound.provenance("user_id")) == ("root", CLIENT)
    with using(trusted_peers=EVERYONE), restore(context) as bound:
        assert bound.provenance("user_id") is Provenance.PEER
    rebuilt: SessionContext = pickle.loads(pickle.dumps(context))
    assert rebuilt == context
    assert rebuilt.provenance("user_id") is CLIENT


def test_a_job_that_brings_a_context_has_no_ids() -> None:
    """
    S27: where a broker carries pickles, a context in the place of a carrier is none.
    """
    context: object = pickle.loads(pickle.dumps(SessionContext("s", "u")))
    with bind_job(context):
        assert get_session_context().is_empty()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(["session_id", "user_id", "tenant_id", "customer_id", "proof", "x"])
HOWS = st.sampled_from([how.value for how in Provenance])
ENTRIES = st.tuples(st.sampled_from(["s", "u", "v"]), HOWS).map(list)
PROOFS = st.text(alphabet="0123456789abcdef", min_size=63, max_size=65).map(lambda text: [text])
CHANGES = st.dictionaries(NAMES, JSON | ENTRIES | PROOFS, min_size=1)


@given(CHANGES, st.sets(NAMES), st.booleans(), st.booleans())
def test_no_hostile_carrier_raises_or_proves(
    changes: dict[str, Any], without: set[str], signed: bool, has_keys: bool
) -> None:
    """
    S27, S29: whatever is written into a carrier, nothing raises, and nothing in it is proven
    unless it is the carrier that was signed.
    """
    original = sent(queue_keys=[NEW])
    kept = {name: entry for name, entry in original.items() if signed and name not in without}
    carrier = kept | changes
    with using(**({"queue_keys": [NEW]} if has_keys else {})):
        found = extract(carrier)
        with restore(carrier), bind_job(carrier):
            pass
    hows = [found.provenance(name) for name in found.as_dict()]
    if any(how is not None and how.proven for how in hows):
        assert has_keys
        assert carrier == original


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"queue_keys": NEW}, "is a list of keys, the new one first, and not empty"),
    "none in it": ({"queue_keys": []}, r"write queue_keys=\[os.environ\['QUEUE_KEY'\]\]"),
    "unset": ({"queue_keys": [None]}, "is the variable set"),
    "short": ({"queue_keys": [NEW, "short key"]}, "at least 32 bytes"),
    "no key": ({"queue_keys": [5]}, "takes text or bytes"),
    "with the end of its line": ({"queue_keys": [f"{NEW}\n"]}, "white space at an end"),
    "no switch": ({"trusted_queue": "yes"}, "is True or False, not 'yes'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_option_is_told(case: str) -> None:
    """
    R14: keys of a queue that are none, and a switch that is none, are refused without a key in
    the message, in code and in settings.
    """
    options, message = WRONG[case]
    with pytest.raises(PolicyError, match=message) as caught:
        Policy(**options)
    assert NEW not in f"{caught.value} {caught.value.value}"
    assert caught.value.option in options
    settings = {name.upper(): value for name, value in options.items()}
    with pytest.raises(PolicyError) as in_settings:
        policy_from_settings(settings, written="IDLANYARD['{}']")
    assert str(in_settings.value).startswith(f"IDLANYARD['{next(iter(settings))}']: ")
    assert NEW not in str(in_settings.value)


def test_keys_are_not_shown() -> None:
    """
    S25: the repr of a policy has no key of its queue, and settings make an equal policy.
    """
    policy = Policy(queue_keys=[NEW, OLD.encode()], trusted_queue=True)
    assert NEW not in repr(policy)
    assert OLD not in repr(policy)
    settings = {"QUEUE_KEYS": [NEW, OLD], "TRUSTED_QUEUE": True}
    assert policy_from_settings(settings, written="IDLANYARD_{}") == policy
