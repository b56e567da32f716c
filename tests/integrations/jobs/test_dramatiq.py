"""
Dramatiq: the contract, pipelines, groups, callbacks, and messages that are sent twice.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from idlanyard import (
    SessionContext,
    get_session_context,
    get_user_id,
    identify,
    session_context,
)
from idlanyard.integrations.dramatiq import IDLanyardMiddleware
from integrations.jobs.contract import NOTHING, RetryingContract, fresh, only
from integrations.jobs.work import DEADLINE, Failed, wait


class TestDramatiq(RetryingContract):
    """
    The contract on Dramatiq, in one thread of one process, so that jobs follow each other.
    """

    command = ("dramatiq", "integrations.jobs.on_dramatiq", "--processes", "1", "--threads", "1")

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_dramatiq

        actor: Any = on_dramatiq.do if kind == "sync" else on_dramatiq.do_async
        options = {} if operation == "retry" else {"max_retries": 0}
        actor.send_with_options(args=(operation, key), **options)

    def send_with(self, carrier: object, key: str) -> None:
        from integrations.jobs import on_dramatiq

        message = on_dramatiq.look.message(key)
        # Written past the middleware, as somebody else would.
        plain = on_dramatiq.connect(url=on_dramatiq.URL, middleware=[])
        plain.declare_queue(message.queue_name)
        plain.enqueue(message.copy(options={"idlanyard": carrier}))
        plain.close()

    def test_pipelines_and_groups_have_the_ids_throughout(self) -> None:
        """
        The jobs that a pipeline and a group send when a job is done have its IDs.
        """
        from integrations.jobs import on_dramatiq

        key = fresh()
        with session_context("s1", user_id="u1"):
            on_dramatiq.workflows(key)
        assert [only(key) for _ in range(4)] == [{"session_id": "s1", "user_id": "u1"}] * 4

    def test_callbacks_have_the_ids(self) -> None:
        """
        The actors that are sent for a success and a failure have its IDs.
        """
        from integrations.jobs import on_dramatiq

        for operation, option in (("look", "on_success"), ("fail", "on_failure")):
            key = fresh()
            options: dict[str, Any] = {option: on_dramatiq.look, "max_retries": 0}
            with session_context("s1"):
                on_dramatiq.do.send_with_options(args=(operation, key), **options)
            assert only(key) == {"session_id": "s1"}

    def test_a_delayed_message_has_the_ids(self) -> None:
        """
        R13: the worker sends a delayed message again when its time has come, with its IDs.
        """
        from integrations.jobs import on_dramatiq

        key = fresh()
        with session_context("s1"):
            on_dramatiq.look.send_with_options(args=(key,), delay=1)
        assert only(key) == {"session_id": "s1"}

    def test_a_message_that_is_skipped_leaves_nothing(self) -> None:
        """
        S28: also of a message that another middleware skips, the next job sees nothing.
        """
        from integrations.jobs import on_dramatiq

        key = fresh()
        with session_context("s1", user_id="u1"):
            on_dramatiq.look.send("skip")
        on_dramatiq.look.send(key)
        assert wait(key) == NOTHING


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    """
    Return Dramatiq's broker for tests, with a worker in this process.
    """
    stub = StubBroker()
    stub.add_middleware(IDLanyardMiddleware())
    worker = dramatiq.Worker(stub, worker_timeout=10, worker_threads=1)
    worker.start()
    yield stub
    worker.stop()
    stub.close()


def test_threads_of_a_worker_keep_nothing(stub: StubBroker) -> None:
    """
    R13, S27: in one thread a job has its sender's IDs, and the next one, without IDs, none.
    """
    seen: list[SessionContext] = []

    @dramatiq.actor(broker=stub)
    def look() -> None:
        seen.append(get_session_context())
        identify(user_id="job")

    with session_context("s1", user_id="u1"):
        look.send()
        stub.join(look.queue_name)
        assert get_user_id() == "u1"
    look.send()
    stub.join(look.queue_name)
    assert seen == [SessionContext("s1", "u1"), SessionContext()]


class Watching(dramatiq.Middleware):
    """
    Notes what is bound once the worker is through with a message.
    """

    def __init__(self) -> None:
        self.noted: queue.Queue[SessionContext] = queue.Queue()

    def after_ack(self, broker: Any, message: Any) -> None:
        self.noted.put(get_session_context())

    after_nack = after_ack


@pytest.mark.parametrize("fails", [pytest.param(False, id="ack"), pytest.param(True, id="nack")])
def test_a_worker_has_nothing_bound_between_messages(stub: StubBroker, fails: bool) -> None:
    """
    R13: after a message, done or rejected, what was bound in the worker's thread is again.
    """
    watching = Watching()
    stub.add_middleware(watching)

    @dramatiq.actor(broker=stub, max_retries=0)
    def look() -> None:
        identify(user_id="job")
        if fails:
            raise Failed

    with session_context("s1"):
        look.send()
    assert watching.noted.get(timeout=DEADLINE).is_empty()


def test_a_message_sent_twice_has_the_ids_of_each_time(stub: StubBroker) -> None:
    """
    S28: one message object that is sent for two users, and for nobody, names each time who it was.
    """
    seen: list[SessionContext] = []

    @dramatiq.actor(broker=stub)
    def look() -> None:
        seen.append(get_session_context())

    message = look.message()
    for user in ("u1", "u2", None):
        with session_context(user_id=user):
            stub.enqueue(message)
            stub.join(look.queue_name)
    assert seen == [SessionContext(user_id="u1"), SessionContext(user_id="u2"), SessionContext()]


class Breaking(dramatiq.Middleware):
    """
    Fails a sending as a broker does that has lost its connection, behind what ours has written.
    """

    def __init__(self) -> None:
        self.broken = True

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        if self.broken:
            # Dramatiq logs what an Exception says, and goes on.
            raise ConnectionLost


class ConnectionLost(BaseException):
    """
    The broker is not there.
    """


def broken_off(stub: StubBroker, send: Any) -> None:
    """
    Send in a way that fails once the IDs are written.
    """
    breaking = Breaking()
    stub.add_middleware(breaking)
    with pytest.raises(ConnectionLost):
        send()
    breaking.broken = False


@pytest.mark.parametrize("user", [pytest.param("bob", id="bob"), pytest.param(None, id="nobody")])
@pytest.mark.parametrize("again", ["itself", "copied", "pipeline", "callback"])
def test_a_sending_that_failed_leaves_nothing_for_the_next(
    stub: StubBroker, user: str | None, again: str
) -> None:
    """
    A message that could not be sent for alice is sent for somebody else without her.
    """
    seen: list[str | None] = []

    @dramatiq.actor(broker=stub)
    def look() -> None:
        seen.append(get_user_id())

    @dramatiq.actor(broker=stub)
    def first() -> None: ...

    message = look.message_with_options(pipe_ignore=True)
    with session_context(user_id="alice"):
        broken_off(stub, lambda: stub.enqueue(message))
    with session_context(user_id=user):
        if again == "itself":
            stub.enqueue(message)
        elif again == "copied":
            stub.enqueue(message.copy(args=()))
        elif again == "pipeline":
            following: Any = dramatiq.pipeline([first.message(), message], broker=stub)
            following.run()
            stub.join(first.queue_name)
        else:
            options = {"group_completion_callbacks": [message.asdict()]}
            stub.enqueue(first.message().copy(options=options))
            assert message.options == {"pipe_ignore": True}
            stub.enqueue(message)
    stub.join(look.queue_name)
    assert seen == [user]


@pytest.mark.parametrize("encoder", [dramatiq.JSONEncoder(), dramatiq.PickleEncoder()])
def test_what_came_through_a_broker_is_kept_by_a_retry(encoder: dramatiq.Encoder) -> None:
    """
    R13: whatever writes the message, a worker that sends it again leaves the first sender's IDs.
    """
    ours = IDLanyardMiddleware()
    broker: Any = None
    message: Any = dramatiq.Message("default", "look", (), {}, {})
    with session_context(user_id="alice"):
        ours.before_enqueue(broker, message, 0)
    again = message.copy(options=encoder.decode(encoder.encode(message.options)))
    with session_context(user_id="bob"):
        ours.before_enqueue(broker, again, 0)
        ours.after_enqueue(broker, again, 0)
    assert again.options == {"idlanyard": {"user_id": ["alice", "code"]}}


def test_a_carrier_in_the_options_stays(stub: StubBroker) -> None:
    """
    R13: what a sender has put there by hand is carried, checked, and not what is in force.
    """
    seen: list[SessionContext] = []

    @dramatiq.actor(broker=stub)
    def look() -> None:
        seen.append(get_session_context())

    with session_context("s1", user_id="u1"):
        look.send_with_options(idlanyard={"session_id": "s2"})
        stub.join(look.queue_name)
    assert seen == [SessionContext("s2")]


def test_an_actor_called_as_a_function_is_one(stub: StubBroker) -> None:
    """
    R13: calling an actor directly changes nothing about what is bound.
    """

    @dramatiq.actor(broker=stub)
    def look() -> SessionContext:
        return get_session_context()

    with session_context("s1"):
        assert look() == SessionContext("s1")


def test_what_cannot_be_processed_is_rejected_as_ever(stub: StubBroker) -> None:
    """
    R14: a message that is rejected before any job has begun passes through.
    """
    IDLanyardMiddleware().before_nack(stub, None)  # type: ignore[arg-type]
    assert get_session_context().is_empty()
