"""
The contract's jobs on Huey, as docs/huey.md has it.

    huey.bin.huey_consumer integrations.jobs.on_huey.HUEY
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from huey import RedisHuey  # type: ignore[import-untyped]

from idlanyard import dump, restore, without
from integrations.jobs.work import BROKER, work

HUEY: Any = RedisHuey("jobs", url=os.environ[BROKER], results=False, blocking=True)


def with_ids(job: Callable[..., Any]) -> Callable[..., Any]:
    """
    Bind the IDs that are among the arguments, and take them out.
    """

    @functools.wraps(job)
    def run(*args: Any, ids: object = None, **kwargs: Any) -> Any:
        with without(), restore(ids):
            return job(*args, **kwargs)

    return run


def send(operation: str, key: str) -> None:
    """
    Send a job from within another.
    """
    DO(operation, key, ids=dump())


@with_ids
def do(operation: str, key: str, task: Any = None) -> None:
    """
    Do what every job does.
    """
    work(operation, key, 1 - task.retries if operation == "retry" else 0, send)


DO: Any = HUEY.task(name="do", context=True)(do)
RETRY: Any = HUEY.task(name="retry", context=True, retries=1)(do)
