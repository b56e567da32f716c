"""
Run a generator that asks questions and is sent the answers: the two trampolines of the registry.

A verb, a request to the HTTP handler and the attempts at one statement are such
generators. They decide and never wait; *answer* does the waiting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")


def drive(asking: Generator[Q, A, T], answer: Callable[[Q], A]) -> T:
    """
    Return the result of a generator whose questions are answered in this thread.

    Args:
        asking: the generator; errors of *answer* are thrown into it.
        answer: returns the answer to one question.
    """
    try:
        question = next(asking)
        while True:
            try:
                given = answer(question)
            except BaseException as error:
                question = asking.throw(error)
            else:
                question = asking.send(given)
    except StopIteration as done:
        result: T = done.value
        return result


async def drive_async(asking: Generator[Q, A, T], answer: Callable[[Q], Awaitable[A]]) -> T:
    """
    Return the result of a generator whose questions are answered on the event loop.

    Args:
        asking: the generator; errors of *answer* are thrown into it.
        answer: returns an awaitable of the answer to one question.
    """
    try:
        question = next(asking)
        while True:
            try:
                given = await answer(question)
            except BaseException as error:
                question = asking.throw(error)
            else:
                question = asking.send(given)
    except StopIteration as done:
        result: T = done.value
        return result
