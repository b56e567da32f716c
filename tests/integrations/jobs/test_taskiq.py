"""
Taskiq: the contract, and tasks that run in the process of who sent them.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from taskiq import InMemoryBroker, SimpleRetryMiddleware, TaskiqMiddleware

from idlanyard import (
    SessionContext,
    get_session_context,
    get_user_id,
    identify,
    session_context,
    without,
)
from idlanyard.integrations.taskiq import IDLanyardMiddleware
from integrations.jobs.contract import NOTHING, RetryingContract, fresh
from integrations.jobs.work import Failed, wait


class TestTaskiq(RetryingContract):
    """
    The contract on Taskiq, in one process.
    """

    command = ("taskiq", "worker", "integrations.jobs.on_taskiq:BROKER_HERE", "--workers", "1")

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_taskiq

        # Only coroutines send, and only ours knows which attempt it is.
        in_coroutine = kind == "async" or operation in ("pass on", "retry")
        task: Any = on_taskiq.do_async if in_coroutine else on_taskiq.do
        kicker = task.kicker().with_labels(retry_on_error=operation == "retry")
        send(kicker, (operation, key), IDLanyardMiddleware())

    def send_with(self, carrier: object, key: str) -> None:
        self.send_label(json.dumps(carrier), key)

    def send_label(self, label: Any, key: str) -> None:
        from integrations.jobs import on_taskiq

        send(on_taskiq.look.kicker().with_labels(idlanyard=label), (key,))

    @pytest.mark.parametrize(
        "label",
        [
            pytest.param("no JSON", id="no JSON"),
            pytest.param("[" * 2000, id="deep"),
            pytest.param(json.dumps({"session_id": "s1", "x": "y" * 2048}), id="long"),
            pytest.param(5, id="a number"),
        ],
    )
    def test_a_label_that_cannot_be_read_is_none(self, label: Any) -> None:
        """
        S27: a label that is no JSON, too deep, too long or no text has no IDs, and the task runs.
        """
        key = fresh()
        self.send_label(label, key)
        assert wait(key) == NOTHING


def send(kicker: Any, args: tuple[str, ...], *middlewares: TaskiqMiddleware) -> None:
    """
    Send a task in an event loop of its own.
    """
    from integrations.jobs import on_taskiq

    async def kick() -> None:
        client = on_taskiq.broker_with(*middlewares)
        await kicker.with_broker(client).kiq(*args)
        await client.shutdown()

    asyncio.run(kick())


def in_memory(**options: Any) -> InMemoryBroker:
    """
    Return a broker that runs its tasks in this process.
    """
    return InMemoryBroker(**options).with_middlewares(
        SimpleRetryMiddleware(default_retry_count=3), IDLanyardMiddleware()
    )


@pytest.mark.parametrize(
    "inplace", [pytest.param(True, id="inline"), pytest.param(False, id="task")]
)
def test_a_task_in_this_process_leaves_its_sender_as_it_was(inplace: bool) -> None:
    """
    Defect 4.10, R13: run here, at once or in a task, a task has the sender's IDs in its own scope.
    """
    broker = in_memory(await_inplace=inplace)

    @broker.task
    async def look() -> dict[str, str]:
        found = get_session_context().as_dict()
        identify(user_id="job")
        assert get_user_id() == "job"
        return found

    async def run() -> None:
        with session_context("s1", user_id="u1"):
            job = await look.kiq()
            assert (await job.wait_result()).return_value == {"session_id": "s1", "user_id": "u1"}
            assert get_user_id() == "u1"
        await broker.shutdown()

    asyncio.run(run())


def test_a_task_without_a_carrier_inherits_here() -> None:
    """
    R13: a message from somebody without the middleware runs with what is bound around it.
    """
    broker = in_memory(await_inplace=True)
    client = InMemoryBroker(await_inplace=True)

    @broker.task
    async def look() -> dict[str, str]:
        identify(user_id="job")
        return get_session_context().as_dict()

    async def run() -> None:
        with without():
            message = look.kicker()._prepare_message()
        with session_context("s1"):
            await broker.kick(client.formatter.dumps(message))
            result: Any = await broker.result_backend.get_result(message.task_id)
            assert result.return_value == {"session_id": "s1", "user_id": "job"}
            assert get_session_context() == SessionContext("s1")
        await broker.shutdown()
        await client.shutdown()

    asyncio.run(run())


@pytest.mark.parametrize("label", ["no JSON", "[" * 2000, json.dumps("x" * 2048)])
def test_a_label_that_cannot_be_read_hides_the_senders_ids(label: str) -> None:
    """
    S27: what was tampered with is not replaced by what happens to be bound.
    """
    broker = in_memory(await_inplace=True)

    @broker.task
    async def look() -> dict[str, str]:
        return get_session_context().as_dict()

    async def run() -> None:
        with session_context("s1"):
            job = await look.kicker().with_labels(idlanyard=label).kiq()
            assert (await job.wait_result()).return_value == {}
            assert get_session_context() == SessionContext("s1")
        await broker.shutdown()

    asyncio.run(run())


def test_tasks_inside_each_other_restore_theirs() -> None:
    """
    Defect 4.10: retries that run inside the first try, under one task ID, give back its IDs.
    """
    broker = in_memory(await_inplace=True)
    tried: list[str | None] = []

    @broker.task(retry_on_error=True)
    async def stubborn() -> None:
        tried.append(get_user_id())
        identify(user_id="job")
        raise Failed

    async def run() -> None:
        with session_context("s1", user_id="u1"):
            await stubborn.kiq()
            assert get_user_id() == "u1"
        await broker.shutdown()

    asyncio.run(run())
    assert tried == ["u1", "u1", "u1"]


def test_what_was_never_begun_is_not_put_back() -> None:
    """
    R14: a middleware before ours may end a task that ours has not seen.
    """
    middleware: Any = IDLanyardMiddleware()
    with session_context("s1"):
        middleware.post_execute(None, None)
        assert get_session_context() == SessionContext("s1")
