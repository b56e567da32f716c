"""
The contract's jobs on Dramatiq.

    dramatiq integrations.jobs.on_dramatiq
"""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq import group
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, CurrentMessage, GroupCallbacks, SkipMessage
from dramatiq.rate_limits.backends import RedisBackend

from idlanyard.integrations.dramatiq import IDLanyardMiddleware
from integrations.jobs.work import BROKER, note, work

URL = os.environ[BROKER]


class Skipping(dramatiq.Middleware):
    """
    Skips what says so, as a middleware that limits does.
    """

    def before_process_message(self, broker: Any, message: Any) -> None:
        if "skip" in message.args:
            raise SkipMessage("as it says")


# Its functions have no types.
connect: Any = RedisBroker
BROKER_HERE = connect(url=URL)
BROKER_HERE.add_middleware(AsyncIO())
BROKER_HERE.add_middleware(CurrentMessage())
BROKER_HERE.add_middleware(GroupCallbacks(RedisBackend(url=URL)))
BROKER_HERE.add_middleware(IDLanyardMiddleware())
BROKER_HERE.add_middleware(Skipping())
dramatiq.set_broker(BROKER_HERE)


def send(operation: str, key: str) -> None:
    """
    Send a job from within another.
    """
    do.send(operation, key)


@dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=2)
def do(operation: str, key: str) -> None:
    """
    Do what every job does.
    """
    message: Any = CurrentMessage.get_current_message()
    work(operation, key, message.options.get("retries", 0), send)


@dramatiq.actor(max_retries=0)
async def do_async(operation: str, key: str) -> None:
    """
    Do the same in a coroutine.
    """
    work(operation, key, 0, send)


@dramatiq.actor
def look(*keys: Any) -> None:
    """
    Note, whatever else it was given.
    """
    note(next(key for key in keys if isinstance(key, str)))


def workflows(key: str) -> None:
    """
    Send a pipeline and a group with a callback, which note four times.
    """
    pipeline: Any = look.message(key) | look.message_with_options(args=(key,), pipe_ignore=True)
    pipeline.run()
    grouped: Any = group
    both = grouped([look.message(key)])
    both.add_completion_callback(look.message(key))
    both.run()
