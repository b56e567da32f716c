"""
Dramatiq: ``IDLanyardMiddleware`` lets actors have the IDs of who sent the message.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from dramatiq.middleware import Middleware

from idlanyard._carrier import block_for_job, dump

if TYPE_CHECKING:
    from dramatiq import Broker, Message
    from dramatiq.broker import MessageProxy

__all__ = ["IDLanyardMiddleware"]

_OPTION: Final = "idlanyard"


class _Here(threading.local):
    """
    What this thread is about: one message sent, and in a worker one processed.
    """

    written: dict[str, Any] | None = None
    block: AbstractContextManager[object] | None = None


class IDLanyardMiddleware(Middleware):
    """
    Carry the IDs in force where a message is sent to the actor (R13).

    Add it to the broker of clients and workers:
    ``broker.add_middleware(IDLanyardMiddleware())``. An actor has a scope of
    its own, and none of its IDs are left in the worker's thread. What it
    sends has its IDs, and so have pipelines, groups and callbacks; a retry
    has those of the first try. A message without IDs has none.
    """

    def __init__(self) -> None:
        self._here = _Here()

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002
        """
        Write the IDs in force into the message's options.

        What is there stays: a worker sends again what was delayed or failed.
        """
        if _OPTION in message.options:
            return
        carrier = dump()
        if carrier:
            message.options[_OPTION] = carrier
            self._here.written = message.options

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002
        """
        Take the IDs out again, since the same object may be sent for somebody else.
        """
        if self._here.written is message.options:
            del message.options[_OPTION]
        self._here.written = None

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """
        Bind what the message carries, checked, and nothing else.
        """
        carrier = message.options.get(_OPTION)
        block = block_for_job(carrier, inherit=False)
        block.__enter__()
        self._here.block = block

    def before_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """
        Put back what was bound, after every other middleware is through with the message.
        """
        block, self._here.block = self._here.block, None
        if block is not None:
            block.__exit__(None, None, None)

    before_nack = before_ack
