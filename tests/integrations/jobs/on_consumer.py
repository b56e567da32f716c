"""
The contract's jobs on a plain consumer of messages, as docs/consumers.md has it.

    python -m integrations.jobs.on_consumer
"""

from __future__ import annotations

import json
import os
from typing import Any

from redis import Redis

from idlanyard import dump, restore, without
from integrations.jobs.work import BROKER, Failed, work

QUEUE = "consumer-jobs"


def send(operation: str, key: str) -> None:
    """
    Send a message with the IDs in force.
    """
    put({"operation": operation, "key": key, "ids": dump()})


def put(message: dict[str, Any]) -> None:
    """
    Put a message into the list.
    """
    with Redis.from_url(os.environ[BROKER]) as store:
        store.lpush(QUEUE, json.dumps(message))


def consume(store: Redis) -> None:
    """
    Do one job, and put it back the first time that it fails.
    """
    found: Any = store.brpop([QUEUE])
    message = json.loads(found[1])
    attempt = message.get("attempt", 0)
    try:
        with without(), restore(message.get("ids")):
            work(message["operation"], message["key"], attempt, send)
    except Failed:
        if not attempt:
            put(message | {"attempt": 1})


if __name__ == "__main__":
    with Redis.from_url(os.environ[BROKER], socket_timeout=None) as connection:
        while True:
            consume(connection)
