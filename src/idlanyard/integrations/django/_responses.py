"""
What a Django response says, as ``_echo`` decides, and how it keeps its IDs.
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


def echo(plan: CompiledPolicy, method: str, response: Any, pairs: list[Pair]) -> None:
    """
    Set the headers that the response is to carry (R9); a failure is only logged.

    Args:
        plan: the policy, compiled for text.
        method: the request's, as it came in.
        response: any response of Django's.
        pairs: what the request's scope is to be echoed as.
    """
    try:
        _take_back(response)
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


def _take_back(response: Any) -> None:
    """
    Undo the echo of an earlier request: a view may return one object again and again.
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
    Return whether no header of a response matters to its echo, as with most.
    """
    for name in response.headers:
        if name not in plan.plain_names and affects_echo(plan, name):
            return False
    return True


def refusal_response(plan: CompiledPolicy, refusal: Refusal, pairs: list[Pair]) -> HttpResponse:
    """
    Return the problem that answers a refused request (R8).
    """
    status, phrase, headers, body = build_refusal(plan, refusal, pairs)
    return HttpResponse(body, status=status, reason=phrase, headers=dict(headers))


def keep_bound(response: Any, inner: RequestIDs, ended: Callable[[], None]) -> None:
    """
    Let a streaming response have what is bound here while it is made and closed (R4).

    Args:
        response: streams parts that application code makes.
        inner: the IDs of the request, which an error of theirs carries.
        ended: called when the response is closed.
    """
    # The application's own iterator: around it, Django closes nothing.
    parts: Any = response._iterator
    hold = partial(SteppedBinding, get_binding())
    if not response.is_async:
        response.streaming_content = _carrying(cast("Any", scoped_iter(parts)), inner)
    elif hasattr(parts, "athrow"):
        # Stepped from its first step on, so that only we close it, bound.
        stepped = wrap_function(_async_carrying, enter=hold, hold=hold, call=lambda: parts)()
        response.streaming_content = _async_carrying(stepped, inner)
    else:
        response.streaming_content = _async_carrying(cast("Any", scoped_iter(parts)), inner)
    # Django's own way to end a response, which a server calls once.
    response.close = partial(_close, hold(), response.close, ended)


def _carrying(parts: Iterator[Any], inner: RequestIDs) -> Iterator[Any]:
    try:
        yield from parts
    except Exception as error:
        attach_to_error(error, inner)
        raise


async def _async_carrying(parts: AsyncIterator[Any], inner: RequestIDs) -> AsyncIterator[Any]:
    try:
        async for part in parts:
            yield part
    except Exception as error:
        attach_to_error(error, inner)
        raise


def _close(held: SteppedBinding, close: Callable[[], None], ended: Callable[[], None]) -> None:
    try:
        with held:
            close()
    finally:
        ended()
