"""
Celery: ``install(app)`` runs tasks with the IDs of the code that published them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from celery import Celery
from celery.signals import before_task_publish, task_postrun, task_prerun

from idlanyard import dump
from idlanyard.integrations.custom import bind_job

__all__ = ["install"]

_HEADER: Final = "idlanyard"
_INSTALLED: Final = "_idlanyard"
_BLOCK: Final = "_idlanyard_block"


def install(app: Celery) -> Callable[[], None]:
    """
    Send the current IDs with each task that is published, and bind them where it runs.

    Call it in the module that makes *app*, so that it runs in clients and in
    workers. A task has IDs of its own, and leaves those around it as they
    were. Everything that it publishes has its IDs, such as links, chains,
    chords and retries. A task that was published without IDs has none in a
    worker; run eagerly, it has the IDs of its caller. Installing again does
    nothing.

    Args:
        app: the application.

    Returns:
        A function that undoes this; calling it again does nothing.

    Raises:
        TypeError: *app* is no Celery application.
    """
    if not isinstance(app, Celery):
        raise TypeError(f"install takes the Celery application, not {type(app).__name__}")
    installed: _Installation | None = vars(app).get(_INSTALLED)
    if installed is None:
        installed = _Installation(app)
        setattr(app, _INSTALLED, installed)
        installed.connect()
    return installed.undo


class _Installation:
    """
    The receivers that ``install`` connects to Celery's signals for one application.
    """

    __slots__ = ("_app", "_uid")

    def __init__(self, app: Celery) -> None:
        self._app = app
        # Celery 5.5 tells receivers apart by their function: without an ID of its own, the method
        # of a second installation would count as connected already.
        self._uid = f"idlanyard-{id(self)}"

    def connect(self) -> None:
        before_task_publish.connect(self.publish, weak=False, dispatch_uid=self._uid)
        task_prerun.connect(self.enter, weak=False, dispatch_uid=self._uid)
        task_postrun.connect(self.leave, weak=False, dispatch_uid=self._uid)

    def undo(self) -> None:
        """
        Disconnect from the signals; calling it again does nothing.
        """
        if vars(self._app).get(_INSTALLED) is not self:
            return
        delattr(self._app, _INSTALLED)
        for signal in (before_task_publish, task_prerun, task_postrun):
            signal.disconnect(dispatch_uid=self._uid)

    def publish(self, headers: dict[str, Any], **_: Any) -> None:
        # A retry has the headers of its first try. A carrier is a dictionary: text under our name
        # is not ours.
        if isinstance(headers.get(_HEADER), dict):
            return
        headers.pop(_HEADER, None)
        carrier = dump()
        if carrier:
            headers[_HEADER] = carrier

    def enter(self, task: Any, **_: Any) -> None:
        if task.app != self._app:
            return
        request = task.request
        block = bind_job(_read_carrier(request), inherit=request.is_eager)
        block.__enter__()
        # On the request, since each run has its own, also a task that runs inside itself.
        setattr(request, _BLOCK, block)

    def leave(self, task: Any, **_: Any) -> None:
        if task.app != self._app:
            return
        block: Any = getattr(task.request, _BLOCK, None)
        if block is not None:
            block.__exit__(None, None, None)


def _read_carrier(request: Any) -> object:
    headers = request.headers
    # Anybody who can write to the broker can put anything there.
    return cast("dict[str, object]", headers).get(_HEADER) if isinstance(headers, dict) else None
