"""
Write your own integration: read the current request, bind a job, show IDs to a log sink.

Everything else that an integration needs is in ``idlanyard`` itself. No framework or
library is imported here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

from idlanyard._binding.carriers import make_job_block
from idlanyard._binding.reading import get_context_for
from idlanyard._binding.snapshot import SessionContext, show_ids
from idlanyard._binding.state import UNBOUND, RequestContext, find_request_ids, get_binding
from idlanyard._failures import report_failure
from idlanyard._policy.checked_policy import Declared

__all__ = [
    "bind_job",
    "current_request",
    "is_bound",
    "report_failure",
    "show_current_ids",
]


def current_request() -> SessionContext | None:
    """
    Return the IDs of the current request or job, or ``None`` outside of both.

    The result is not a snapshot: it follows ``identify``, can be read in any
    thread or task, and keeps the last IDs when the request is over. It does
    not include the changes of a ``session_context`` block inside the request.
    """
    request_ids = find_request_ids()
    return None if request_ids is None else RequestContext(request_ids)


def is_bound() -> bool:
    """
    Return whether a request, a job or a block has bound IDs for the current code.

    Elsewhere the only IDs are the static ones of the environment.
    """
    return get_binding() is not UNBOUND


def bind_job(carrier: object, *, inherit: bool = False) -> AbstractContextManager[None]:
    """
    Return a block that binds the IDs of a job or message, and no others.

    Like a request, a job has IDs of its own that ``identify`` changes for all
    its threads and tasks. Leaving the block restores the IDs that were bound
    before, and an exception that leaves it keeps the IDs of the job, so that a
    line logged about it later shows them. Use ``with``, also in a coroutine.

    Args:
        carrier: the value that ``dump`` returned on the sending side, as it
            arrived. Every value is checked, and anything that is no ID is
            dropped: anybody who can write to the queue can write anything. A
            provenance is believed as in ``extract``.
        inherit: use the current IDs if *carrier* is ``None`` or empty, for a
            job that runs in the code that sent it.
    """
    return make_job_block(carrier, inherit=inherit)


def show_current_ids(
    sink: Literal["log", "span"], error: BaseException | None = None
) -> dict[str, str | None]:
    """
    Return the current IDs by name, as a log line or a span may show them.

    The dictionary has every ID that a policy of this process declares. An ID
    is ``None`` if it is unset or its rules omit it from *sink*, and a
    pseudonym if its rules hash it.

    Args:
        sink: ``"log"`` or ``"span"``.
        error: the exception that the line is about. If no IDs are bound, those
            of the request or job that raised it are shown.
    """
    shown = show_ids(get_context_for(error), sink)
    for name in Declared.names:
        if name not in shown:
            shown[name] = None
    return shown
