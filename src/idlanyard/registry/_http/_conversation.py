"""
Two ways to ask what the pure handler wants to know: waiting, and awaiting.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from idlanyard._binding.blocks import session_context
from idlanyard._binding.changing import identify_by
from idlanyard._binding.functions import is_awaited
from idlanyard._binding.state import current
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._http._replies import Reply
from idlanyard.registry._http._session_request import Asking, Question, SessionRequest

InThread: TypeAlias = Callable[..., Awaitable[Any]]
"""
Runs a function with its arguments in a thread, in a copy of the context.
"""


def check_waits(registry: object, on_input: object, authorize: object) -> None:
    """
    Refuse what would have to be awaited, where nothing can be.

    Raises:
        TypeError: the registry, or one of the functions, is asynchronous.
    """
    if isinstance(registry, AsyncSessionRegistry):
        raise TypeError(
            "registry is an AsyncSessionRegistry, which nothing awaits here: "
            "write SessionRegistry.open(...) with the same arguments"
        )
    for name, function in (("on_input", on_input), ("authorize", authorize)):
        if callable(function) and is_awaited(function):
            raise TypeError(
                f"{name} is async, and nothing awaits it here: write a plain function, "
                f"as in 'def {name}(...):'"
            )


def converse(conversation: Asking[Reply], framework_request: object) -> Reply:
    """
    Return the reply; every question is asked in this thread.

    Args:
        conversation: what ``SessionsHandler.handle`` returned.
        framework_request: what ``authorize`` finds in its ``SessionRequest``.

    Raises:
        TypeError: a function returned what would have to be awaited.
    """

    def ask(question: Question) -> Any:
        with _bound(question):
            answer = question.call(*_arguments(question, framework_request))
            return _waited(answer, question)

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
    conversation: Asking[Reply],
    framework_request: object,
    *,
    run_verb: InThread,
    run_function: InThread,
) -> Reply:
    """
    Return the reply; async functions are awaited here, all others run in a worker thread.

    Args:
        conversation: what ``SessionsHandler.handle`` returned.
        framework_request: what ``authorize`` finds in its ``SessionRequest``.
        run_verb: where a verb of a ``SessionRegistry`` runs.
        run_function: where a plain function of the application runs.
    """

    async def ask(question: Question) -> Any:
        with _bound(question):
            call, arguments = question.call, _arguments(question, framework_request)
            if is_awaited(call):
                return await call(*arguments)
            run = run_verb if question.is_verb else run_function
            answer = await run(call, *arguments)
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


def _arguments(question: Question, framework_request: object) -> tuple[Any, ...]:
    """
    Return what a question is asked with; the framework's request is the face's to add.
    """
    return tuple(
        replace(argument, framework_request=framework_request)
        if isinstance(argument, SessionRequest)
        else argument
        for argument in question.arguments
    )


def _waited(answer: Any, question: Question) -> Any:
    if not inspect.isawaitable(answer):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
    name = "authorize" if question.session_id is None else "on_input"
    raise TypeError(
        f"{name} returned {type(answer).__name__}, and nothing awaits it here: "
        f"write a plain function that returns its answer"
    )


@contextmanager
def _bound(question: Question) -> Generator[None, None, None]:
    """
    Bind a session here, and name it to the whole request, if it is an ID there.
    """
    session_id = question.session_id
    if session_id is None or current().policy.check("session_id").reason(session_id) is not None:
        yield
        return
    with session_context(session_id=session_id):
        identify_by({"session_id": (session_id, question.provenance)})
        yield
