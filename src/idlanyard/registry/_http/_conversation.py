"""
Two ways to ask what the pure handler wants to know: waiting, and awaiting.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

from idlanyard._binding import current
from idlanyard._blocks import session_context
from idlanyard._change import identify
from idlanyard.registry._http._replies import Reply
from idlanyard.registry._http._session_request import Asking, Question


def converse(conversation: Asking[Reply], wait_for: Callable[[Awaitable[Any]], Any]) -> Reply:
    """
    Return the reply; every question is asked in this thread.

    Args:
        conversation: what ``SessionsHandler.handle`` returned.
        wait_for: waits for what an async function has returned.
    """

    def ask(question: Question) -> Any:
        with _bound(question.session_id):
            answer = question.call(*question.arguments)
            return wait_for(answer) if inspect.isawaitable(answer) else answer

    try:
        question = next(conversation)
        while True:
            try:
                answer = ask(question)
            except Exception as error:
                question = conversation.throw(error)
            else:
                question = conversation.send(answer)
    except StopIteration as done:
        value: Reply = done.value
        return value


async def converse_async(
    conversation: Asking[Reply], in_thread: Callable[..., Awaitable[Any]]
) -> Reply:
    """
    Return the reply; async functions are awaited here, all others run in a worker thread.

    Args:
        conversation: what ``SessionsHandler.handle`` returned.
        in_thread: runs a function in a worker thread, in a copy of the context.
    """

    async def ask(question: Question) -> Any:
        with _bound(question.session_id):
            if inspect.iscoroutinefunction(question.call):
                answer = question.call(*question.arguments)
            else:
                answer = await in_thread(question.call, *question.arguments)
            return await answer if inspect.isawaitable(answer) else answer

    try:
        question = next(conversation)
        while True:
            try:
                answer = await ask(question)
            except Exception as error:
                question = conversation.throw(error)
            else:
                question = conversation.send(answer)
    except StopIteration as done:
        value: Reply = done.value
        return value


@contextmanager
def _bound(session_id: str | None) -> Generator[None, None, None]:
    """
    Bind a session here, and name it to the whole request, if it is an ID there (R7).
    """
    if session_id is None or current().policy.check("session_id").reason(session_id) is not None:
        yield
        return
    with session_context(session_id=session_id):
        identify(session_id=session_id)
        yield
