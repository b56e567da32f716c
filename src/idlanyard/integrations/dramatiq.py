"""
Dramatiq: ``IDLanyardMiddleware`` runs actors with the IDs of the code that sent the message.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from dramatiq.middleware import Middleware

from idlanyard import dump
from idlanyard.integrations.custom import bind_job

if TYPE_CHECKING:
    from dramatiq import Broker, Message
    from dramatiq.broker import MessageProxy

__all__ = ["IDLanyardMiddleware"]

_OPTION: Final = "idlanyard"


class _Thread(threading.local):
    """
    The block of the one message that this thread of a worker processes.
    """

    block: AbstractContextManager[object] | None = None


class _WrittenHere(dict[str, list[str]]):
    """
    A carrier that this process wrote; one that has passed through a broker is a plain dict.

    Dramatiq calls no middleware when sending fails. The carrier is then left in
    the message, which may be sent again for another user.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[dict[str, list[str]]], tuple[dict[str, list[str]]]]:
        return dict, (dict(self),)


class IDLanyardMiddleware(Middleware):
    """
    Send the current IDs with each message, and bind them where its actor runs.

    Add it to the broker of clients and workers:
    ``broker.add_middleware(IDLanyardMiddleware())``. An actor has IDs of its
    own, and leaves none in the worker's thread. The messages that it sends
    have its IDs, and so have pipelines, groups and callbacks; a retry has
    those of the first try. An actor whose message has no IDs has none.
    """

    def __init__(self) -> None:
        self._thread = _Thread()

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002
        """
        Write the current IDs into the message's options.

        IDs that arrived with the message stay, since a worker sends delayed
        and failed messages again. IDs that a failed sending has left in it are
        replaced.
        """
        _remove_leftovers(message.options)
        if _OPTION in message.options:
            return
        carrier = dump()
        if carrier:
            message.options[_OPTION] = _WrittenHere(carrier)

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002
        """
        Remove the IDs, since the same object may be sent again for another user.
        """
        _remove_leftovers(message.options)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """
        Bind the IDs of the message, checked, and no others.
        """
        block = bind_job(message.options.get(_OPTION))
        block.__enter__()
        self._thread.block = block

    def before_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """
        Restore the binding, after every other middleware has handled the message.
        """
        block, self._thread.block = self._thread.block, None
        if block is not None:
            block.__exit__(None, None, None)

    before_nack = before_ack


def _remove_leftovers(options: dict[str, Any]) -> None:
    """
    Remove the IDs that we wrote into a message, and into those that follow it.
    """
    if isinstance(options.get(_OPTION), _WrittenHere):
        del options[_OPTION]
    for following in (options.get("pipe_target"), *options.get("group_completion_callbacks", ())):
        if following is not None:
            _remove_leftovers(following["options"])
