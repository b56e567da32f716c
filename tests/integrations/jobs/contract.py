"""
What holds for every queue, with its worker in another process.

A subclass says how its worker is started and how a job is sent; what the job
does is in ``work.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from drive import ask_wsgi, environ_of, using
from idlanyard import (
    Policy,
    SessionContext,
    dump,
    get_session_context,
    get_session_id,
    restore,
    session_context,
    use_policy,
    user_spec,
)
from idlanyard.wsgi import SessionContextMiddleware
from integrations.jobs.work import NEW_KEY, OLD_KEY, wait

NOTHING: dict[str, Any] = {"ids": {}, "how": {}}
MANY = 20

HOSTILE = {
    "text": "session_id",
    "a number": 5,
    "a list": ["session_id", "s1"],
    "tampered": {"session_id": ["a\r\nSet-Cookie: x=1", "code"]},
    "oversized": {"session_id": ["x" * 5000, "code"]},
    "unknown": {"role": ["admin", "code"]},
    "wrong type": {"session_id": [5, "code"], "user_id": {"a": 1}},
    "too long a list": {"user_id": ["u1", "code", "root"]},
}


def change_value(carrier: dict[str, Any]) -> None:
    """
    Name another user.
    """
    carrier["user_id"][0] = "mallory"


def add_entry(carrier: dict[str, Any]) -> None:
    """
    Name a tenant as well.
    """
    carrier["tenant_id"] = ["t1", "code"]


def replace_proof(carrier: dict[str, Any]) -> None:
    """
    Make a proof up.
    """
    carrier["proof"] = ["0" * 64]


def remove_proof(carrier: dict[str, Any]) -> None:
    """
    Take the proof away.
    """
    del carrier["proof"]


FORGED: dict[str, Callable[[dict[str, Any]], None]] = {
    "another user": change_value,
    "one more ID": add_entry,
    "another proof": replace_proof,
    "no proof": remove_proof,
}


def fresh() -> str:
    """
    Return a key that no other test waits on.
    """
    return uuid4().hex


def only(key: str) -> dict[str, Any]:
    """
    Return the IDs that were noted.
    """
    noted: dict[str, Any] = wait(key)["ids"]
    return noted


@pytest.mark.usefixtures("worker")
class Contract:
    """
    The contract of one queue.

    Attributes:
        command: the module and the arguments that start its worker.
        kinds: how a job may be written, as ``send`` understands it.
        environment: static IDs of the worker's process, which are no job's.
    """

    command: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[str, ...]] = ("sync", "async")
    environment: ClassVar[dict[str, str]] = {"IDLANYARD_USER_ID": "of-the-worker"}

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        """
        Send a job from here.
        """
        raise NotImplementedError

    def send_with(self, carrier: object, key: str) -> None:
        """
        Send a job that looks, with a carrier that is not ours.
        """
        raise NotImplementedError

    def test_a_job_has_the_ids_of_who_sent_it(self) -> None:
        """
        R13: a job of any kind has session, user and tenant, and the sender keeps its own.
        """
        for kind in self.kinds:
            key = fresh()
            with (
                using(queue_keys=[NEW_KEY]),
                session_context("s1", user_id="u1", tenant_id="t1"),
            ):
                self.send("look", key, kind=kind)
                assert get_session_context() == SessionContext("s1", "u1", "t1")
            assert wait(key) == {
                "ids": {"session_id": "s1", "user_id": "u1", "tenant_id": "t1"},
                "how": {"session_id": "code", "user_id": "code", "tenant_id": "code"},
            }

    def test_a_job_has_each_provenance_as_it_was(self) -> None:
        """
        S27: signed by the new key or the old one, each value arrives with the provenance it had.
        """
        how = {"session_id": "minted", "user_id": "peer", "tenant_id": "client"}
        for keys in ([NEW_KEY, OLD_KEY], [OLD_KEY]):
            key = fresh()
            with (
                using(queue_keys=keys, trusted_queue=True),
                restore({name: ["x1", rule] for name, rule in how.items()}),
            ):
                self.send("look", key)
            assert wait(key)["how"] == how

    def test_what_nobody_has_signed_is_the_word_of_a_client(self) -> None:
        """
        S27: from a sender without a key, or with another one, no value arrives as proven.
        """
        for options in ({}, {"queue_keys": ["a key that this worker does not know"]}):
            key = fresh()
            with using(**options), session_context("s1", user_id="u1"):
                self.send("look", key)
            assert wait(key) == {
                "ids": {"session_id": "s1", "user_id": "u1"},
                "how": {"session_id": "client", "user_id": "client"},
            }

    @pytest.mark.parametrize("forge", [pytest.param(f, id=n) for n, f in FORGED.items()])
    def test_a_forged_carrier_is_the_word_of_a_client(
        self, forge: Callable[[dict[str, Any]], None]
    ) -> None:
        """
        S27: a signed carrier that was changed on its way keeps its IDs, and proves none of them.
        """
        key = fresh()
        with using(queue_keys=[NEW_KEY]), session_context("s1", user_id="u1"):
            carrier = json.loads(json.dumps(dump()))
        forge(carrier)
        self.send_with(carrier, key)
        noted = wait(key)
        assert noted["ids"].keys() == carrier.keys() - {"proof"}
        assert {*noted["how"].values()} == {"client"}

    def test_a_job_of_a_request_has_its_ids_under_its_policy(self) -> None:
        """
        R10, R13: the request's own policy says which of its IDs a job may have.
        """
        key = fresh()

        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            self.send("look", key)
            start_response("200 OK", [])
            return [b""]

        policy = Policy(user=user_spec(accept="anyone", job=False))
        lines = [("X-Session-ID", "s1"), ("X-User-ID", "u1")]
        ask_wsgi(SessionContextMiddleware(app, policy), environ_of(lines, peer="127.0.0.1"))
        assert wait(key) == {"ids": {"session_id": "s1"}, "how": {"session_id": "client"}}

    def test_what_is_not_declared_for_jobs_stays(self) -> None:
        """
        R10: an ID with job=False is not sent along.
        """
        key = fresh()
        undo = use_policy(Policy(user=user_spec(job=False)))
        try:
            with session_context("s1", user_id="u1"):
                self.send("look", key)
        finally:
            undo()
        assert only(key) == {"session_id": "s1"}

    def test_nothing_is_left_for_the_next_job(self) -> None:
        """
        S27: a job without IDs sees none, whatever one before has identified.
        """
        for kind in self.kinds:
            before, after = fresh(), fresh()
            with session_context("s1"):
                self.send("identify", before, kind=kind)
            self.send("identify", fresh(), kind=kind)
            self.send("look", after, kind=kind)
            assert only(before) == {"session_id": "s1"}
            assert wait(after) == NOTHING

    def test_nothing_is_left_by_a_job_that_fails(self) -> None:
        """
        S27, S28: after a job that raised, the next one without IDs sees none.
        """
        for kind in self.kinds:
            before, after = fresh(), fresh()
            with session_context("s1", user_id="u1"):
                self.send("fail", before, kind=kind)
            self.send("look", after, kind=kind)
            assert only(before) == {"session_id": "s1", "user_id": "u1"}
            assert wait(after) == NOTHING

    def test_what_a_job_sends_has_its_ids(self) -> None:
        """
        R13: a job that sends another one passes on its IDs, as they are then.
        """
        key = fresh()
        with using(queue_keys=[NEW_KEY]), session_context("s1", user_id="u1"):
            self.send("pass on", key)
        how = {"session_id": "code", "user_id": "code"}
        assert wait(key) == {"ids": {"session_id": "s1", "user_id": "u1"}, "how": how}
        assert wait(key) == {"ids": {"session_id": "s1", "user_id": "job"}, "how": how}

    def test_jobs_at_once_keep_apart(self) -> None:
        """
        S28: many senders with many sessions, and each job has its own sender's.
        """

        def send(number: int) -> str:
            key = fresh()
            with session_context(f"s{number}"):
                self.send("look", key)
            return key

        with ThreadPoolExecutor(4) as pool:
            keys = list(pool.map(send, range(MANY)))
        assert [only(key) for key in keys] == [{"session_id": f"s{n}"} for n in range(MANY)]

    @pytest.mark.parametrize("carrier", [pytest.param(c, id=n) for n, c in HOSTILE.items()])
    def test_a_hostile_carrier_is_dropped(self, carrier: object) -> None:
        """
        S27: what is tampered, oversized, unknown or of a wrong type is dropped, and the job runs.
        """
        key = fresh()
        self.send_with(carrier, key)
        assert wait(key) == NOTHING

    def test_a_carrier_written_by_hand_is_read(self) -> None:
        """
        S27: of a carrier with one bad value, the good ones are bound.
        """
        key = fresh()
        with session_context("s1"):
            carrier = json.loads(json.dumps(dump())) | {"user_id": ["no user", "code"]}
        assert get_session_id() is None
        self.send_with(carrier, key)
        assert only(key) == {"session_id": "s1"}


class RetryingContract(Contract):
    """
    The contract of a queue that tries again what has failed.
    """

    def test_a_retry_has_the_ids_again(self) -> None:
        """
        A job that is tried again has the IDs that it was sent with, whomever it has identified.
        """
        key = fresh()
        with using(queue_keys=[NEW_KEY]), session_context("s1", user_id="u1"):
            self.send("retry", key)
        first, second = wait(key), wait(key)
        assert first == second
        assert first == {
            "ids": {"session_id": "s1", "user_id": "u1"},
            "how": {"session_id": "code", "user_id": "code"},
        }
