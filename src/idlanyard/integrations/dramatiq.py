"""
Dramatiq: ``IDLanyardMiddleware`` lets actors have the IDs of who sent the message.
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


class _Here(threading.local):
    """
    What this thread of a worker is about: one message.
    """

    block: AbstractContextManager[object] | None = None


class _Ours(dict[str, list[str]]):
    """
    A carrier that was written here; one that has come through a broker is a plain dict.

    Brokers call nothing when a sending fails, and so it may be left behind in
    a message that is sent again for somebody else.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[dict[str, list[str]]], tuple[dict[str, list[str]]]]:
        return dict, (dict(self),)


class IDLanyardMiddleware(Middleware):
    """
    Carry the IDs in force where a message is sent to the actor.

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

        What came with it stays: a worker sends again what was delayed or
        failed. What a sending that failed has left behind is replaced.
        """
        _remove_leftovers(message.options)
        if _OPTION in message.options:
            return
        carrier = dump()
        if carrier:
            message.options[_OPTION] = _Ours(carrier)

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int) -> None:  # noqa: ARG002
        """
        Take the IDs out again, since the same object may be sent for somebody else.
        """
        _remove_leftovers(message.options)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        """
        Bind what the message carries, checked, and nothing else.
        """
        block = bind_job(message.options.get(_OPTION))
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


def _remove_leftovers(options: dict[str, Any]) -> None:
    """
    Take out what we wrote into a message, and into those that are sent when it is done.
    """
    if isinstance(options.get(_OPTION), _Ours):
        del options[_OPTION]
    for following in (options.get("pipe_target"), *options.get("group_completion_callbacks", ())):
        if following is not None:
            _remove_leftovers(following["options"])
