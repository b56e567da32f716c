"""
Taskiq: ``IDLanyardMiddleware`` runs tasks with the IDs of the code that sent them.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any, Final

from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

from idlanyard import dump
from idlanyard._binding.state import RequestIDs, find_request_ids
from idlanyard.integrations.custom import bind_job

__all__ = ["IDLanyardMiddleware"]

_LABEL: Final = "idlanyard"
_MOST: Final = 2048


class IDLanyardMiddleware(TaskiqMiddleware):
    """
    Send the current IDs with each task, and bind them where it runs.

    Give it to the broker of clients and workers:
    ``broker.with_middlewares(IDLanyardMiddleware())``. A task, sync or async,
    has IDs of its own, and leaves those around it as they were. The tasks that
    it sends have its IDs; a retry has those of the first try. A task that was
    sent without IDs has none in a worker; in the process of its sender it has
    the IDs of the sender.
    """

    def __init__(self) -> None:
        super().__init__()
        # By the scope, since one task may run inside itself, and messages be replaced.
        self._open: dict[int, tuple[RequestIDs | None, AbstractContextManager[object]]] = {}

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """
        Write the current IDs into the message's labels, as JSON text.

        A label that the message has already stays, as on a retry.
        """
        carrier = dump()
        if carrier:
            message.labels.setdefault(_LABEL, json.dumps(carrier))
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """
        Bind the IDs of the message, checked.
        """
        inherit = not self.broker.is_worker_process
        block = bind_job(_parse_label(message.labels.get(_LABEL)), inherit=inherit)
        block.__enter__()
        inner = find_request_ids()
        self._open[id(inner)] = inner, block
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:  # noqa: ARG002
        """
        Restore the binding from before the task.
        """
        _, block = self._open.pop(id(find_request_ids()), (None, None))
        if block is not None:
            block.__exit__(None, None, None)


def _parse_label(label: object) -> object:
    """
    Return the carrier in a label, or the label itself, which binds no IDs, if it is none.
    """
    if not isinstance(label, str) or len(label) > _MOST:
        return label
    try:
        return json.loads(label)
    except (ValueError, RecursionError):
        return label
