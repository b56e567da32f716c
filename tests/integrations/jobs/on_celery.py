"""
The contract's jobs on Celery.

    celery -A integrations.jobs.on_celery worker
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chord, group

from idlanyard.integrations.celery import install
from integrations.jobs.work import BROKER, Failed, note, work

URL = os.environ[BROKER]

app = Celery("jobs", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    beat_schedule={"tick": {"task": "look", "schedule": 0.5, "args": ("beat",)}},
    beat_max_loop_interval=0.5,
    worker_prefetch_multiplier=1,
    result_expires=60,
)
undo = install(app)


def send(operation: str, key: str) -> None:
    """
    Send a job from within another.
    """
    do.delay(operation, key)


@app.task(
    bind=True,
    name="do",
    autoretry_for=(Failed,),
    max_retries=1,
    retry_backoff=False,
    default_retry_delay=0,
)
def do(self: Any, operation: str, key: str) -> None:
    """
    Do what every job does, once more if it fails.
    """
    work(operation, key, self.request.retries, send)


@app.task(name="fail")
def fail(key: str) -> None:
    """
    Note, and fail for good.
    """
    work("fail", key, 0, send)


@app.task(name="look")
def look(*keys: Any) -> Any:
    """
    Note under the last argument, and hand it on.
    """
    note(keys[-1])
    return keys[-1]


def workflows(key: str) -> tuple[Any, int]:
    """
    Return a group, a chain and a chord in one, and how often they note.
    """
    parts = group(look.si(key), look.si(key))
    return look.si(key) | chord(parts, look.si(key)) | look.si(key), 5
