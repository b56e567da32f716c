"""
The contract's jobs on Taskiq.

    taskiq worker integrations.jobs.on_taskiq:BROKER_HERE
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends, TaskiqMiddleware
from taskiq_redis import ListQueueBroker

from idlanyard.integrations.taskiq import IDLanyardMiddleware
from integrations.jobs.work import BROKER, note, work


def broker_with(*middlewares: TaskiqMiddleware) -> ListQueueBroker:
    """
    Return a broker of the contract's queue; each event loop needs its own.
    """
    broker = ListQueueBroker(url=os.environ[BROKER], queue_name="taskiq-jobs")
    return broker.with_middlewares(*middlewares)


BROKER_HERE = broker_with(SimpleRetryMiddleware(default_retry_count=2), IDLanyardMiddleware())


@BROKER_HERE.task
def do(operation: str, key: str) -> None:
    """
    Do what every job does; only coroutines can send.
    """
    work(operation, key, 0, lambda *_: None)


@BROKER_HERE.task
async def do_async(operation: str, key: str, context: Any = TaskiqDepends(Context)) -> None:
    """
    Do the same in a coroutine.
    """
    sent: list[tuple[str, str]] = []
    attempt = int(context.message.labels.get("_retries", 0))
    work(operation, key, attempt, lambda *job: sent.append(job))
    for job in sent:
        await do.kiq(*job)


@BROKER_HERE.task
async def look(key: str) -> None:
    """
    Note, in a thread.
    """
    await asyncio.to_thread(note, key)
