"""
Make the calls that the handler asks for: in this thread, or on an event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from idlanyard._binding.blocks import session_context
from idlanyard._binding.changing import identify_delta
from idlanyard._binding.functions import is_awaited
from idlanyard._binding.state import get_binding
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._drive import drive, drive_async
from idlanyard.registry._http._replies import Reply
from idlanyard.registry._http._request import Call, Handling, SessionRequest

RunInThread: TypeAlias = Callable[..., Awaitable[Any]]
"""
Runs a function with its arguments in a thread, in a copy of the context.
"""


def check_sync(registry: object, on_input: object, authorize: object) -> None:
    """
    Check that no option would have to be awaited, for a face that cannot await.

    Raises:
        TypeError: the registry, or one of the functions, is async.
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


def drive_request(handling: Handling[Reply], framework_request: object) -> Reply:
    """
    Return the reply to a request; every call is made in this thread.

    Args:
        handling: the result of ``SessionsHandler.handle``.
        framework_request: the framework's request, for ``authorize``.

    Raises:
        TypeError: a function returned an awaitable.
    """

    def make(call: Call) -> Any:
        with _bound(call):
            result = call.function(*_arguments(call, framework_request))
            return _check_result(result, call)

    return drive(handling, make)


async def drive_request_async(
    handling: Handling[Reply],
    framework_request: object,
    *,
    run_verb: RunInThread,
    run_function: RunInThread,
) -> Reply:
    """
    Return the reply to a request; async functions are awaited, others run in a worker thread.

    Args:
        handling: the result of ``SessionsHandler.handle``.
        framework_request: the framework's request, for ``authorize``.
        run_verb: runs a verb of a ``SessionRegistry``.
        run_function: runs a plain function of the application.
    """

    async def make(call: Call) -> Any:
        with _bound(call):
            function, arguments = call.function, _arguments(call, framework_request)
            if is_awaited(function):
                return await function(*arguments)
            run = run_verb if call.is_verb else run_function
            result = await run(function, *arguments)
            return await result if inspect.isawaitable(result) else result

    return await drive_async(handling, make)


def _arguments(call: Call, framework_request: object) -> tuple[Any, ...]:
    """
    Return the arguments of a call, with the framework's request, which the handler does not know.
    """
    return tuple(
        replace(argument, framework_request=framework_request)
        if isinstance(argument, SessionRequest)
        else argument
        for argument in call.arguments
    )


def _check_result(result: Any, call: Call) -> Any:
    """
    Return a result that needs no awaiting.

    Raises:
        TypeError: it is an awaitable.
    """
    if not inspect.isawaitable(result):
        return result
    if inspect.iscoroutine(result):
        result.close()
    name = "authorize" if call.session_id is None else "on_input"
    raise TypeError(
        f"{name} returned {type(result).__name__}, and nothing awaits it here: "
        f"write a plain function that returns its answer"
    )


@contextmanager
def _bound(call: Call) -> Generator[None, None, None]:
    """
    Bind the session of a call, for the call and for the request, if its ID is valid there.
    """
    session_id = call.session_id
    check = get_binding().policy.check("session_id")
    if session_id is None or check.reason(session_id) is not None:
        yield
        return
    with session_context(session_id=session_id):
        identify_delta({"session_id": (session_id, call.provenance)})
        yield
