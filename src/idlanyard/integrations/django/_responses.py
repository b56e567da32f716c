"""
The echo on a Django response, and the binding of a stream.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from django.http import HttpResponse

from idlanyard._binding.blocks import scoped_iter
from idlanyard._binding.functions import SteppedBinding, wrap_function
from idlanyard._binding.state import attach_to_error, get_binding
from idlanyard._decision.response import add_echo, affects_echo, build_refusal, choose_plain_echo
from idlanyard.integrations.custom import report_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from idlanyard._binding.state import RequestIDs
    from idlanyard._decision.plan import CompiledPolicy
    from idlanyard._decision.protocols import Pair
    from idlanyard._decision.resolve import Refusal


_WRITTEN: Final = "_idlanyard_echo"


def write_echo(plan: CompiledPolicy, method: str, response: Any, pairs: list[Pair]) -> None:
    """
    Add the echo to a response; a failure is only logged.

    Args:
        plan: the policy, compiled for text.
        method: the method of the request, as it arrived.
        response: any response of Django.
        pairs: the headers of the echo.
    """
    try:
        _remove_echo(response)
        status = response.status_code
        more = choose_plain_echo(plan, method, status, pairs) if _is_plain(plan, response) else None
        if more is None:
            before = dict(response.items())
            said = add_echo(plan, method, status, before.items(), pairs)
            more = [(name, value) for name, value in said if before.get(name) != value]
        headers = response.headers
        response.__dict__[_WRITTEN] = [(n, value, headers.get(n)) for n, value in more]
        for name, value in more:
            response[name] = value
    except Exception as error:
        report_failure("echo", error)


def _remove_echo(response: Any) -> None:
    """
    Remove the echo of an earlier request, since a view may return one object again and again.
    """
    for name, value, before in response.__dict__.pop(_WRITTEN, ()):
        if response.headers.get(name) != value:
            continue
        if before is None:
            del response[name]
        else:
            response[name] = before


def _is_plain(plan: CompiledPolicy, response: Any) -> bool:
    """
    Return whether no header of a response affects its echo, as is usual.
    """
    for name in response.headers:
        if name not in plan.plain_names and affects_echo(plan, name):
            return False
    return True


def make_refusal_response(
    plan: CompiledPolicy, refusal: Refusal, pairs: list[Pair]
) -> HttpResponse:
    """
    Return the problem document that answers a refused request.
    """
    status, phrase, headers, body = build_refusal(plan, refusal, pairs)
    return HttpResponse(body, status=status, reason=phrase, headers=dict(headers))


def keep_bound(response: Any, inner: RequestIDs, ended: Callable[[], None]) -> None:
    """
    Bind the current IDs while the parts of a streaming response are made, and when it is closed.

    Args:
        response: a response whose parts are made by the application.
        inner: the IDs of the request, which an error of theirs carries.
        ended: called when the response is closed.
    """
    # The application's own iterator, since Django does not close the map() that it puts around.
    parts: Any = response._iterator
    hold = partial(SteppedBinding, get_binding())
    if not response.is_async:
        response.streaming_content = _attach_errors(cast("Any", scoped_iter(parts)), inner)
    elif hasattr(parts, "athrow"):
        # Wrapped from its first step on, so that it is closed by us, with the IDs bound, and not by
        # the event loop.
        stepped = wrap_function(
            _attach_errors_async, enter=hold, make_stepped=hold, call=lambda: parts
        )()
        response.streaming_content = _attach_errors_async(stepped, inner)
    else:
        response.streaming_content = _attach_errors_async(cast("Any", scoped_iter(parts)), inner)
    # Servers call close once, at the end of every response.
    response.close = partial(_close_bound, hold(), response.close, ended)


def _attach_errors(parts: Iterator[Any], inner: RequestIDs) -> Iterator[Any]:
    try:
        yield from parts
    except Exception as error:
        attach_to_error(error, inner)
        raise


async def _attach_errors_async(parts: AsyncIterator[Any], inner: RequestIDs) -> AsyncIterator[Any]:
    try:
        async for part in parts:
            yield part
    except Exception as error:
        attach_to_error(error, inner)
        raise


def _close_bound(
    held: SteppedBinding, close: Callable[[], None], ended: Callable[[], None]
) -> None:
    try:
        with held:
            close()
    finally:
        ended()
