"""
Django's tasks: the contract on a database, and backends that run tasks at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django_tasks_db import DatabaseBackend

from idlanyard import SessionContext, get_session_context, get_user_id, session_context
from idlanyard._binding.state import ids_of_error
from idlanyard.integrations.django_tasks import CarryingBackendMixin
from integrations.apps.django_settings import FOLDER
from integrations.jobs.contract import Contract
from integrations.jobs.work import Failed

IN_DATABASE = {"default": {"BACKEND": "integrations.jobs.django_backends.InDatabase"}}
AT_ONCE = {"default": {"BACKEND": "integrations.jobs.django_backends.AtOnce"}}
DATABASE = "IDLANYARD_JOBS_DATABASE"


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """
    Give the tests' Django the tasks' tables, where the worker finds them.
    """
    os.environ[DATABASE] = str(Path(FOLDER.name, "database.sqlite3"))
    apps = [*settings.INSTALLED_APPS, "django_tasks_db"]
    try:
        with override_settings(INSTALLED_APPS=apps, TASKS=IN_DATABASE):
            call_command("migrate", verbosity=0)
            yield
    finally:
        del os.environ[DATABASE]
        connection.close()


class TestDjangoTasks(Contract):
    """
    The contract on Django's tasks, in the worker of ``django-tasks-db``.
    """

    command = (
        *("django", "db_worker", "--settings", "integrations.jobs.django_settings"),
        *("--interval", "0.02", "--no-startup-delay"),
    )

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_django

        task: Any = on_django.do if kind == "sync" else on_django.do_async
        try:
            task.enqueue(operation, key)
        finally:
            connection.close()

    def send_with(self, carrier: object, key: str) -> None:
        from integrations.jobs import on_django

        task: Any = on_django.do
        # Written past the mixin, as somebody else would.
        DatabaseBackend.enqueue(task.get_backend(), task, ["look", key], {"_idlanyard": carrier})


@pytest.fixture
def tasks() -> Iterator[Any]:
    """
    Return the tasks, which run where they are enqueued.
    """
    from integrations.jobs import on_django

    with override_settings(TASKS=AT_ONCE):
        yield on_django


@pytest.mark.parametrize("name", ["look", "look_async"])
def test_a_task_that_runs_at_once_leaves_its_caller_as_it_was(tasks: Any, name: str) -> None:
    """
    Defect 4.10, R13: run where it is enqueued, a task has its caller's IDs, who keeps them.
    """
    task = getattr(tasks, name)
    with session_context("s1", user_id="u1"):
        assert task.enqueue().return_value == {"session_id": "s1", "user_id": "u1"}
        assert get_user_id() == "u1"
        assert task.enqueue(fails=True).status == "FAILED"
        assert get_user_id() == "u1"
    assert task.enqueue().return_value == {}
    assert get_session_context().is_empty()


def test_a_coroutine_enqueues_as_well(tasks: Any) -> None:
    """
    R13: what a coroutine enqueues has its IDs, and it keeps them.
    """

    async def run() -> None:
        with session_context("s1"):
            result = await tasks.look.aenqueue()
            assert result.return_value == {"session_id": "s1"}
            assert get_session_context() == SessionContext("s1")

    asyncio.run(run())


def test_tasks_inside_each_other_restore_theirs(tasks: Any) -> None:
    """
    Defect 4.10: a task inside itself gives the outer one's IDs back.
    """
    with session_context("s1", user_id="u9"):
        assert tasks.nested.enqueue(3).return_value == ["u3", "u2", "u1", "u0"]
        assert get_user_id() == "u9"


def test_a_task_called_without_a_backend_inherits(tasks: Any) -> None:
    """
    R13: called by hand, without a carrier, a task has what is bound around it.
    """
    with session_context("s1", user_id="u1"):
        assert tasks.look.call() == {"session_id": "s1", "user_id": "u1"}
        assert asyncio.run(tasks.look.acall()) == {"session_id": "s1", "user_id": "u1"}
        assert get_user_id() == "u1"


def test_what_a_task_raises_has_its_ids(tasks: Any) -> None:
    """
    The exception carries the task's IDs to where it is logged.
    """
    for call in (tasks.look.call, lambda **ids: asyncio.run(tasks.look.acall(**ids))):
        with pytest.raises(Failed) as caught:
            call(fails=True, _idlanyard={"session_id": "s1"})
        assert ids_of_error(caught.value) == SessionContext("s1", "job")


def test_the_callers_arguments_stay_as_they_are(tasks: Any) -> None:
    """
    S27: the IDs are in the result's arguments and not in the caller's.
    """
    given: dict[str, Any] = {"fails": False}
    backend: Any = tasks.look.get_backend()
    assert isinstance(backend, CarryingBackendMixin)
    with session_context("s1"):
        result = backend.enqueue(tasks.look, [], given)
    assert given == {"fails": False}
    assert result.kwargs == {"fails": False, "_idlanyard": {"session_id": ["s1", "code"]}}


FORGED = {"_idlanyard": {"user_id": ["admin", "peer"]}}


def test_the_json_of_a_client_brings_no_carrier(tasks: Any) -> None:
    """
    An argument of our name is replaced where IDs are in force, and removed where not.
    """
    with session_context("s1"):
        assert tasks.look.enqueue(**FORGED).return_value == {"session_id": "s1"}
        assert asyncio.run(tasks.look.aenqueue(**FORGED)).return_value == {"session_id": "s1"}
    assert tasks.look.enqueue(**FORGED).return_value == {}
    assert tasks.look.enqueue(**FORGED).kwargs == {}
    assert list(FORGED) == ["_idlanyard"]
