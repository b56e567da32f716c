"""
RQ: the contract, callbacks, queues that run at once, and workers without a fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis
from rq import Callback, Queue, Retry

from idlanyard import (
    SessionContext,
    get_session_context,
    get_user_id,
    identify,
    session_context,
    without,
)
from idlanyard._binding.state import ids_of_error
from idlanyard.integrations.rq import IDLanyardJob
from integrations.jobs.contract import RetryingContract, fresh, only
from integrations.jobs.work import Failed

JOB_CLASS = "idlanyard.integrations.rq.IDLanyardJob"
PAGE = Path(__file__).parents[3].joinpath("docs", "rq.md")


def test_the_worker_of_the_page_is_the_one_that_is_tested() -> None:
    """
    The line that starts a worker on the page has the words with which the contract starts one.
    """
    shown = f"```bash\nrq worker --job-class {JOB_CLASS}\n```\n"
    assert shown in PAGE.read_text(encoding="utf-8")
    assert {"worker", "--job-class", JOB_CLASS} < set(TestRQ.command)


class TestRQ(RetryingContract):
    """
    The contract on RQ's worker, which forks for each job.
    """

    command: ClassVar[tuple[str, ...]] = (
        "rq.cli",
        "worker",
        "jobs",
        "--job-class",
        JOB_CLASS,
        "--url",
        "{broker}",
    )

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_rq

        if operation == "retry":
            on_rq.QUEUE.enqueue(on_rq.retry, operation, key, retry=Retry(max=1))
        else:
            on_rq.QUEUE.enqueue(on_rq.do if kind == "sync" else on_rq.do_async, operation, key)

    def send_with(self, carrier: object, key: str) -> None:
        from integrations.jobs import on_rq

        on_rq.QUEUE.enqueue(on_rq.do, "look", key, meta={"idlanyard": carrier})

    @pytest.mark.parametrize("operation", ["look", "fail"])
    def test_callbacks_have_the_ids(self, operation: str) -> None:
        """
        R13: what RQ calls after success and after failure has the job's IDs.
        """
        from integrations.jobs import on_rq

        key = fresh()
        after = Callback(on_rq.after)
        for ids in ({"session_id": "s1"}, {}):
            with session_context(**ids):
                on_rq.QUEUE.enqueue(on_rq.do, operation, key, on_success=after, on_failure=after)
            assert only(key) == only(f"after-{key}") == ids

    def test_a_stopped_job_has_its_callback_bound(self) -> None:
        """
        R13: the callback of a job that was stopped has the job's IDs.
        """
        from integrations.jobs import on_rq

        key = fresh()
        with session_context("s1"):
            job = IDLanyardJob.create(
                on_rq.do,
                ("look", key),
                connection=on_rq.CONNECTION,
                on_stopped=Callback(on_rq.after),
            )
        job.stopped_callback(job, on_rq.CONNECTION)
        assert only(f"after-{key}") == {"session_id": "s1"}
        assert job.success_callback is None


class TestRQWithoutFork(TestRQ):
    """
    The contract where one process does every job.
    """

    command = (*TestRQ.command, "--worker-class", "rq.worker.SimpleWorker")


@pytest.fixture
def queue(broker: str) -> Iterator[Any]:
    """
    Return a queue that runs its jobs at once.
    """
    with Redis.from_url(broker) as connection:
        yield Queue("at-once", is_async=False, connection=connection, job_class=IDLanyardJob)


def look() -> SessionContext:
    """
    Report the IDs that are bound, and change them.
    """
    found = get_session_context()
    identify(user_id="job")
    return found


def boom() -> None:
    """
    Fail, after somebody was identified.
    """
    identify(user_id="job")
    raise Failed


def test_a_job_that_runs_at_once_leaves_its_caller_as_it_was(queue: Any) -> None:
    """
    Defect 4.10, R13: with is_async=False a job has its caller's IDs, and the caller keeps them.
    """
    with session_context("s1", user_id="u1"):
        assert queue.enqueue(look).return_value() == SessionContext("s1", "u1")
        assert get_user_id() == "u1"
    assert queue.enqueue(look).return_value() == SessionContext()
    assert get_session_context().is_empty()


def test_a_job_without_ids_inherits_what_is_bound_around_it(queue: Any) -> None:
    """
    R13: made where nothing was bound and run in a request's process, a job has the request's IDs.
    """
    with session_context("s1", user_id="u1"):
        with without():
            job = IDLanyardJob.create(look, connection=queue.connection)
        assert job.perform() == SessionContext("s1", "u1")
        assert get_user_id() == "u1"


def test_what_a_job_raises_has_its_ids(queue: Any) -> None:
    """
    The exception carries the job's IDs to where the worker logs it.
    """
    with session_context("s1"):
        job = IDLanyardJob.create(boom, connection=queue.connection)
    with pytest.raises(Failed) as caught:
        job.perform()
    assert ids_of_error(caught.value) == SessionContext("s1", "job")


def test_the_callers_meta_stays_as_it_is(queue: Any) -> None:
    """
    S15, S27: meta is copied, and a carrier that is in it already wins.
    """
    given = {"color": "red"}
    with session_context("s1"):
        job = IDLanyardJob.create(look, connection=queue.connection, meta=given)
        own = IDLanyardJob.create(look, connection=queue.connection, meta={"idlanyard": {}})
    assert given == {"color": "red"}
    assert job.meta == {"color": "red", "idlanyard": {"session_id": ["s1", "code"]}}
    assert own.perform() == SessionContext()
