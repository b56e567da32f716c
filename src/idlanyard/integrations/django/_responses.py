"""
The echo on a Django response, and the binding of a stream.
"""

from __future__ import annotations

from functools import partial
from http.cookies import Morsel, SimpleCookie
from typing import TYPE_CHECKING, Any, Final, cast

from django.http import HttpResponse
from django.http.response import ResponseHeaders

from idlanyard._binding.blocks import scoped_iter
from idlanyard._binding.functions import SteppedBinding, wrap_function
from idlanyard._binding.snapshot import NO_ECHO
from idlanyard._binding.state import attach_to_error, get_binding
from idlanyard._decision.memory import Memory
from idlanyard._decision.response import add_echo, affects_echo, build_refusal, choose_plain_echo
from idlanyard._decision.session_cookie import read_cookie_name
from idlanyard.integrations.custom import report_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from idlanyard._binding.state import RequestIDs
    from idlanyard._decision.plan import CompiledPolicy
    from idlanyard._decision.protocols import Pair
    from idlanyard._decision.resolve import Refusal
    from idlanyard._decision.session_cookie import SessionCookie


_WRITTEN: Final = "_idlanyard_echo"
_COOKIE: Final = "_idlanyard_cookie"


class Responses:
    """
    The responses of one application.

    Args:
        plan: the policy, compiled for text, since headers of Django's responses are text
            on both protocols.
    """

    __slots__ = ("_added", "_plan")

    def __init__(self, plan: CompiledPolicy) -> None:
        self._plan = plan
        # By method and status, for responses none of whose headers affects the echo.
        self._added: Memory[tuple[str, int], list[Pair] | None] = Memory(
            lambda line: choose_plain_echo(plan, *line), lambda line: len(line[0])
        )

    def write_echo(self, method: str, response: Any, inner: RequestIDs) -> Any:
        """
        Add the echo to a response, or to a copy of one that another request may be sending.

        A failure is only logged.

        Args:
            method: the method of the request, as it arrived.
            response: any response of Django.
            inner: the IDs of the request.

        Returns:
            The response to send.
        """
        try:
            pairs = inner.echo
            if pairs is None or inner.binary:
                pairs = self._make_echo(inner)
            record: list[tuple[Any, ...]] = []
            # Atomic: a view may return one object to several requests, each in a thread or task.
            earlier = response.__dict__.setdefault(_WRITTEN, record)
            if earlier is not record:
                response = _copy_response(response, earlier)
                setattr(response, _WRITTEN, record)
            try:
                headers, added = response.headers._store, None
            except AttributeError:
                # A view may put a plain dict in their place.
                response.headers = ResponseHeaders(response.headers)
                headers, added = response.headers._store, None
            if pairs and self._plan.effects.plain.issuperset(headers):
                # An HttpRequest that code makes itself has no method.
                added = self._added[method or "", response.status_code]
            written: Sequence[tuple[Any, ...]] = (
                self._merge_echo(method, response, pairs) if added is None else [*pairs, *added]
            )
            if self._plan.cookie is not None:
                self._plan.cookie.note_start(inner, written)
                written = _write_cookie(self._plan.cookie, response, written)
            # Complete before the first header is written, for those that copy the response.
            record += written
            for pair in written:
                headers[pair[0].lower()] = pair[:2]
        except Exception as error:
            report_failure("echo", error)
        return response

    def refuse(self, refusal: Refusal, inner: RequestIDs) -> HttpResponse:
        """
        Return the problem document that answers a refused request.
        """
        pairs = self._make_echo(inner)
        status, phrase, headers, body = build_refusal(self._plan, refusal, pairs)
        response = HttpResponse(body, status=status, reason=phrase, headers=dict(headers))
        if self._plan.cookie is not None:
            _write_cookie(self._plan.cookie, response, headers)
        return response

    def _make_echo(self, inner: RequestIDs) -> list[Pair]:
        """
        Return the echo as text, for IDs that have changed or whose echo is of bytes.
        """
        return [] if inner.echo is NO_ECHO else self._plan.echo_pairs(inner)

    def _merge_echo(
        self, method: str, response: Any, pairs: Sequence[Pair]
    ) -> Sequence[tuple[Any, ...]]:
        """
        Return the headers to write into a response that has some which the echo depends on.

        They are pairs. The header that one of them replaces, if any, is behind it.
        """
        plan, headers = self._plan, response.headers._store
        if not pairs:
            return ()
        plain, counts = plan.effects.plain, plan.effects.values_count
        affecting = [
            headers[key]
            for key in headers
            if key not in plain and (counts.get(key) is not None or affects_echo(plan, key))
        ]
        lines = add_echo(plan, method, response.status_code, affecting, [*pairs])
        number = len(affecting)
        if lines[:number] == affecting:
            return lines[number:]
        before = {pair[0].lower(): pair for pair in affecting}
        replaced = [(pair, before.get(pair[0].lower())) for pair in lines]
        return [
            pair if earlier is None else (*pair, earlier)
            for pair, earlier in replaced
            if pair != earlier
        ]


def _write_cookie(
    cookie: SessionCookie, response: Any, written: Sequence[tuple[Any, ...]]
) -> Sequence[tuple[Any, ...]]:
    """
    Put the session cookie beside the cookies of the application, which are no headers in Django.

    Returns:
        The headers of *written* that are left to write.
    """
    lines = [pair[1] for pair in written if pair[0] == cookie.header]
    if not lines:
        return written
    if read_cookie_name(response.headers.get(cookie.header, "")) == cookie.name:
        del response.headers[cookie.header]
    ours = _parse_cookie(lines[0])
    setattr(response, _COOKIE, (ours, ours.value, response.cookies.get(cookie.name)))
    response.cookies[cookie.name] = ours
    return [pair for pair in written if pair[0] != cookie.header]


def _copy_response(response: Any, written: Sequence[tuple[Any, ...]]) -> Any:
    """
    Return a copy of a response, with headers and cookies of its own and no echo.

    Args:
        response: a response that was returned to another request as well, which may be about
            to send it.
        written: the headers that were written into it for that request.
    """
    copy = object.__new__(response.__class__)
    copy.__dict__.update(response.__dict__)
    if hasattr(response.headers, "_store"):
        # In one step each, since the other request may be writing into them.
        headers: Any = ResponseHeaders({})
        headers._store = {**response.headers._store}
    else:
        headers = ResponseHeaders(response.headers)
    cookies = SimpleCookie()
    cookies.update(response.cookies)
    # Read after the headers and cookies, before which it was complete.
    _remove_echo(headers._store, written)
    _remove_cookie(cookies, response.__dict__.get(_COOKIE))
    # To set a cookie anew changes its Morsel.
    cookies.update({name: cast("Any", morsel).copy() for name, morsel in cookies.items()})
    copy.headers, copy.cookies = headers, cookies
    copy._resource_closers = [*response._resource_closers]
    copy.__dict__.pop(_COOKIE, None)
    return copy


def _remove_cookie(cookies: dict[str, Morsel[str]], written: Any) -> None:
    """
    Remove the session cookie of an earlier request, as ``_remove_echo`` does.
    """
    if written is None:
        return
    ours, value, before = written
    name = ours.key
    # A view that has set a cookie of this name since has written into ours.
    if ours.value != value or cookies.get(name) is not ours:
        return
    if before is None:
        del cookies[name]
    else:
        cookies[name] = before


def _parse_cookie(line: str) -> Morsel[str]:
    """
    Return one cookie of ours as Django has it.
    """
    first, *attributes = line.split("; ")
    name, _, value = first.partition("=")
    morsel: Morsel[str] = Morsel()
    # The value as it is: by itself http.cookies puts some that have "/" or "=" into quotes.
    morsel.set(name, value, value)
    for attribute in attributes:
        key, equals, setting = attribute.partition("=")
        morsel[key.lower()] = setting if equals else True
    return morsel


def _remove_echo(headers: dict[str, Pair], written: Sequence[tuple[Any, ...]]) -> None:
    """
    Remove the echo of an earlier request, since a view may return one object again and again.
    """
    for name, value, *before in written:
        key = name.lower()
        if headers.get(key) != (name, value):
            continue
        if before:
            headers[key] = before[0]
        else:
            del headers[key]


def keep_bound(response: Any, inner: RequestIDs, ended: Callable[[], None]) -> None:
    """
    Bind the current IDs while the parts of a streaming response are made, and when it is closed.

    Args:
        response: a response whose parts are made by the application, or a file.
        inner: the IDs of the request, which an error of theirs carries.
        ended: called when the response is closed.
    """
    if getattr(response, "file_to_stream", None) is not None:
        # A file is sent by the server's own means.
        ended()
        return
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
