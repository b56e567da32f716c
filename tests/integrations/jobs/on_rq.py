"""
The contract's jobs on RQ.

    rq worker --job-class idlanyard.integrations.rq.IDLanyardJob
"""

from __future__ import annotations

import os
from typing import Any

from redis import Redis
from rq import Queue, get_current_job

from idlanyard.integrations.rq import IDLanyardJob
from integrations.jobs.work import BROKER, note, work

CONNECTION = Redis.from_url(os.environ[BROKER])
QUEUE = Queue("jobs", connection=CONNECTION, job_class=IDLanyardJob)


def send(operation: str, key: str) -> None:
    """
    Send a job from within another.
    """
    QUEUE.enqueue(do, operation, key)


def do(operation: str, key: str) -> None:
    """
    Do what every job does.
    """
    work(operation, key, 0, send)


def retry(operation: str, key: str) -> None:
    """
    Do it, and fail the first time; RQ tries again.
    """
    job: Any = get_current_job(CONNECTION)
    tried = job.meta.get("tried", 0)
    job.meta["tried"] = tried + 1
    job.save_meta()
    work(operation, key, tried, send)


async def do_async(operation: str, key: str) -> None:
    """
    Do the same in a coroutine.
    """
    work(operation, key, 0, send)


def after(job: Any, connection: Any, *_: Any) -> None:
    """
    Note what a callback sees.
    """
    note(f"after-{job.args[1]}")
