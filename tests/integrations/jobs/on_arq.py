"""
The contract's jobs on arq, as docs/arq.md has it.

    arq integrations.jobs.on_arq.WorkerSettings
"""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any

from arq import Retry
from arq.connections import RedisSettings

from idlanyard import dump, restore
from integrations.jobs.work import BROKER, Failed, work

Job = Callable[..., Awaitable[Any]]
SETTINGS = RedisSettings.from_dsn(os.environ[BROKER])


def with_ids(job: Job) -> Job:
    """
    Bind the IDs that are among the arguments, and take them out.
    """

    @functools.wraps(job)
    async def run(ctx: dict[str, Any], *args: Any, ids: object = None, **kwargs: Any) -> Any:
        async with restore(ids):
            return await job(ctx, *args, **kwargs)

    return run


@with_ids
async def do(ctx: dict[str, Any], operation: str, key: str) -> None:
    """
    Do what every job does.
    """
    sent: list[tuple[str, str]] = []
    try:
        work(operation, key, ctx["job_try"] - 1, lambda *job: sent.append(job))
    except Failed as error:
        if operation == "retry":
            raise Retry(0) from error
        raise
    for job in sent:
        await ctx["redis"].enqueue_job("do", *job, ids=dump())


class WorkerSettings:
    """
    The settings of the worker.
    """

    functions = (do,)
    redis_settings = SETTINGS
    poll_delay = 0.02
    keep_result = 0
