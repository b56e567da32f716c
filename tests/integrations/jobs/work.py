"""
What every job does, whatever queue it comes from, and how it tells the test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final

from redis import Redis

from idlanyard import Policy, identify, use_policy
from integrations.apps.seen import DEADLINE, ids

__all__ = [
    "BROKER",
    "DEADLINE",
    "NEW_KEY",
    "OLD_KEY",
    "POLICY",
    "Failed",
    "note",
    "wait",
    "work",
]

BROKER: Final = "IDLANYARD_JOBS_BROKER"
POLICY: Final = "IDLANYARD_TEST_JOBS_POLICY"
NEW_KEY: Final = "the new key of the queue, 32 bytes"
OLD_KEY: Final = "the old key of the queue, 32 bytes"

if POLICY in os.environ:
    # In a worker only, which has nothing to take back.
    use_policy(Policy(**json.loads(os.environ[POLICY])))


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
