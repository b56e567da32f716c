"""
What every job does, whatever queue it comes from, and how it tells the test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final

from redis import Redis

from idlanyard import identify
from integrations.apps.seen import DEADLINE, ids

__all__ = ["BROKER", "DEADLINE", "Failed", "note", "wait", "work"]

BROKER: Final = "IDLANYARD_JOBS_BROKER"


class Failed(Exception):
    """
    The exception of a job that is to fail.
    """


def note(key: str) -> None:
    """
    Write down what is bound, where the test waits for it.
    """
    with Redis.from_url(os.environ[BROKER]) as store:
        store.rpush(key, json.dumps(ids()))


def wait(key: str) -> dict[str, Any]:
    """
    Return the next note under *key*; it may not have been written yet.
    """
    with Redis.from_url(os.environ[BROKER], socket_timeout=2 * DEADLINE) as store:
        found: Any = store.blpop([key], timeout=DEADLINE)
    assert found is not None, f"no job has noted anything under {key}"
    noted: dict[str, Any] = json.loads(found[1])
    return noted


def work(operation: str, key: str, attempt: int, send: Callable[[str, str], object]) -> None:
    """
    Note what is bound, and then do what the test has asked for.

    Args:
        operation: ``look``, ``identify``, ``fail``, ``retry`` or ``pass on``.
        key: where to note.
        attempt: how often this job was tried before.
        send: sends another job.
    """
    note(key)
    if operation in ("identify", "pass on", "retry"):
        identify(user_id="job")
    if operation == "pass on":
        send("look", key)
    if operation == "fail" or (operation == "retry" and attempt == 0):
        raise Failed(key)
