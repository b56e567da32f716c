"""
The contract's jobs on Django's tasks, stored in a database.

    django db_worker --settings integrations.jobs.django_settings
"""

from __future__ import annotations

from typing import Any

from idlanyard import get_session_context, get_user_id, identify
from integrations.jobs.django_backends import task
from integrations.jobs.work import Failed, work


def send(operation: str, key: str) -> None:
    """
    Send a job from within another.
    """
    do.enqueue(operation, key)


@task
def do(operation: str, key: str) -> None:
    """
    Do what every job does.
    """
    work(operation, key, 0, send)


@task
async def do_async(operation: str, key: str) -> None:
    """
    Do the same in a coroutine; the database is not for coroutines.
    """
    work(operation, key, 0, lambda *_: None)


@task
def look(fails: bool = False) -> dict[str, str]:
    """
    Report the IDs that are bound, and change them.
    """
    found = get_session_context().as_dict()
    identify(user_id="job")
    if fails:
        raise Failed
    return found


@task(takes_context=True)
async def look_async(context: Any, *, fails: bool = False) -> dict[str, str]:
    """
    Report them in a coroutine that takes Django's context.
    """
    assert context.attempt == 1
    return look.func(fails)


@task
def nested(depth: int) -> list[str | None]:
    """
    Run itself inside itself, and say who the user is afterwards.
    """
    identify(user_id=f"u{depth}")
    inner = nested.enqueue(depth - 1).return_value if depth else []
    return [get_user_id(), *inner]
