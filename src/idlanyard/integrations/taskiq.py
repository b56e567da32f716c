"""
Taskiq: ``IDLanyardMiddleware`` lets tasks have the IDs of who sent them.
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
    Carry the IDs in force where a task is sent to where it runs.

    Give it to the broker of clients and workers:
    ``broker.with_middlewares(IDLanyardMiddleware())``. A task, sync or async,
    has a scope of its own, and what was bound around it is put back. What it
    sends has its IDs; a retry has those of the first try. A message without
    IDs means: in a worker none are in force, and a task that runs in the
    sender's process has those of the sender.
    """

    def __init__(self) -> None:
        super().__init__()
        # By the scope, since one task may run inside itself, and messages be replaced.
        self._open: dict[int, tuple[RequestIDs | None, AbstractContextManager[object]]] = {}

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """
        Write the IDs in force into the message's labels, as a text.

        A label that is there, as on a retry, stays.
        """
        carrier = dump()
        if carrier:
            message.labels.setdefault(_LABEL, json.dumps(carrier))
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """
        Bind what the message carries, checked.
        """
        inherit = not self.broker.is_worker_process
        block = bind_job(_parsed(message.labels.get(_LABEL)), inherit=inherit)
        block.__enter__()
        inner = find_request_ids()
        self._open[id(inner)] = inner, block
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:  # noqa: ARG002
        """
        Put back what was bound before the task.
        """
        _, block = self._open.pop(id(find_request_ids()), (None, None))
        if block is not None:
            block.__exit__(None, None, None)


def _parsed(label: object) -> object:
    """
    Return the carrier in a label; what cannot be read is one without IDs.
    """
    if not isinstance(label, str) or len(label) > _MOST:
        return label
    try:
        return json.loads(label)
    except (ValueError, RecursionError):
        return label
