"""
Django's tasks: ``CarryingBackendMixin`` runs them with the IDs of the code that enqueued them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from idlanyard import dump
from idlanyard.integrations.custom import bind_job, is_bound

if TYPE_CHECKING:
    from typing import TypeAlias

    from django.tasks.base import Task

    AnyTask: TypeAlias = Task[..., Any]
else:
    # Django has tasks from 6.0 on; before that, the package django-tasks has them.
    home = "django.tasks.base" if find_spec("django.tasks") else "django_tasks.base"
    AnyTask = import_module(home).Task

__all__ = ["CarryingBackendMixin"]

_KEYWORD: Final = "_idlanyard"


class _CarryingTask(AnyTask):
    """
    A task that binds the IDs among its arguments, and runs without that argument.
    """

    __slots__ = ()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        with _make_block(kwargs.pop(_KEYWORD, None)):
            return super().call(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        with _make_block(kwargs.pop(_KEYWORD, None)):
            return await super().acall(*args, **kwargs)


class CarryingBackendMixin:
    """
    Store the current IDs with each task that is enqueued, and bind them where it runs.

    Put it before the backend, and name the class in ``TASKS``::

        class CarryingBackend(CarryingBackendMixin, DatabaseBackend):
            pass

    A task has IDs of its own, and leaves those around it as they were. The
    tasks that it enqueues have its IDs. A task that was enqueued without IDs
    has none in a worker; run at once, it has the IDs of its caller. The IDs
    are stored among the task's keyword arguments, as ``_idlanyard``, which the
    function never gets. An argument of that name that a caller passes is
    replaced, since keyword arguments may be a client's JSON.
    """

    task_class: Any = _CarryingTask

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """
        Enqueue the task with the current IDs.

        Args:
            task: the task.
            args: the positional arguments.
            kwargs: the keyword arguments, which are not changed.
        """
        backend: Any = super()
        return backend.enqueue(task, args, _with_ids(kwargs))

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """
        Enqueue the task with the current IDs.

        Args:
            task: the task.
            args: the positional arguments.
            kwargs: the keyword arguments, which are not changed.
        """
        backend: Any = super()
        return await backend.aenqueue(task, args, _with_ids(kwargs))


def _with_ids(kwargs: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in kwargs.items() if name != _KEYWORD}
    carrier = dump()
    return given | {_KEYWORD: carrier} if carrier else given


def _make_block(carrier: object) -> AbstractContextManager[object]:
    return bind_job(carrier, inherit=is_bound())
