"""
Django's tasks: ``CarryingBackendMixin`` lets them have the IDs of who enqueued them.
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
    # Django has tasks of its own from 6.0 on; before that, the package brings them.
    home = "django.tasks.base" if find_spec("django.tasks") else "django_tasks.base"
    AnyTask = import_module(home).Task

__all__ = ["CarryingBackendMixin"]

_KEYWORD: Final = "_idlanyard"


class _CarryingTask(AnyTask):
    """
    A task that binds what was enqueued with it, and takes that out of its arguments.
    """

    __slots__ = ()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        with _block(kwargs.pop(_KEYWORD, None)):
            return super().call(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        with _block(kwargs.pop(_KEYWORD, None)):
            return await super().acall(*args, **kwargs)


class CarryingBackendMixin:
    """
    Carry the IDs in force where a task is enqueued to where it runs.

    Put it before the backend, and name the class in ``TASKS``::

        class CarryingBackend(CarryingBackendMixin, DatabaseBackend):
            pass

    A task has a scope of its own, and what was bound around it is put back.
    What it enqueues has its IDs. Without any, none are in force in a worker,
    and a task that runs at once has those of its caller. They are stored
    among the task's keyword arguments, as ``_idlanyard``; the function never
    gets that one. An argument of that name that a caller gives is replaced,
    since keyword arguments may be a client's JSON.
    """

    task_class: Any = _CarryingTask

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """
        Enqueue the task with the IDs in force.

        Args:
            task: the task.
            args: its arguments.
            kwargs: its keyword arguments; they stay as they are.
        """
        backend: Any = super()
        return backend.enqueue(task, args, _with_ids(kwargs))

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """
        Enqueue the task with the IDs in force.

        Args:
            task: the task.
            args: its arguments.
            kwargs: its keyword arguments; they stay as they are.
        """
        backend: Any = super()
        return await backend.aenqueue(task, args, _with_ids(kwargs))


def _with_ids(kwargs: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in kwargs.items() if name != _KEYWORD}
    carrier = dump()
    return given | {_KEYWORD: carrier} if carrier else given


def _block(carrier: object) -> AbstractContextManager[object]:
    return bind_job(carrier, inherit=is_bound())
