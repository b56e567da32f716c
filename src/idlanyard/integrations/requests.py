"""
requests: ``install(session, to=[...])`` lets a session's requests carry the IDs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict

from idlanyard._binding.carriers import ids_to_send
from idlanyard._binding.state import get_binding
from idlanyard._policy.origins import Origin, Origins, origin_of
from idlanyard.exceptions import IDLanyardError
from idlanyard.integrations.custom import report_failure

__all__ = ["install"]


def install(session: Session, *, to: Iterable[str]) -> Callable[[], None]:
    """
    Let the requests of *session* carry the IDs in force to the origins *to*.

    The adapters that are mounted are wrapped, so that a retrying one stays
    inside. The IDs are read, and the origin is looked at, whenever a request
    is sent: a redirect decides anew for each hop. A header that the caller
    wrote wins; it does not follow a redirect to an origin that is not on the
    list. Installing the same origins again wraps what has been mounted since.

    Args:
        session: with its adapters mounted.
        to: the origins that may have the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``.

    Returns:
        A function that takes this back; calling it again does nothing.

    Raises:
        IDLanyardError: *session* has IDs for other origins already.
        PolicyError: an entry of *to* is no origin.
        TypeError: *session* is something else.
    """
    origins = Origins(to)
    if not isinstance(session, Session):
        raise TypeError(
            f"install takes the Session of requests, not {_kind(session)}: for another client "
            f"write inject(headers, to=[...], url=...) before each request"
        )
    wrapped = [one for one in session.adapters.values() if isinstance(one, _Propagating)]
    installation = wrapped[0].installation if wrapped else _Installation(origins)
    if installation.origins != origins:
        raise IDLanyardError(
            "this session has IDs for other origins already: install once with all of them, or "
            "call what the first install returned before the second"
        )
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, _Propagating):
            session.mount(prefix, _Propagating(adapter, installation))
    return partial(_take_back, session, installation)


def _kind(given: object) -> str:
    # Sessions of others are called Session as well.
    return f"{type(given).__module__}.{type(given).__qualname__}"


class _Installation:
    """
    What the wrappers of one session share.
    """

    __slots__ = ("origins",)

    def __init__(self, origins: Origins) -> None:
        self.origins = origins


def _take_back(session: Session, installation: _Installation) -> None:
    # A wrapper that somebody has wrapped in turn stays, and lets nothing through.
    installation.origins = Origins([])
    for prefix, adapter in list(session.adapters.items()):
        if isinstance(adapter, _Propagating) and adapter.installation is installation:
            session.mount(prefix, adapter.wrapped)


class _Propagating(BaseAdapter):
    """
    An adapter around another, which looks like it to who reads or sets its attributes.
    """

    wrapped: BaseAdapter
    installation: _Installation

    def __init__(self, wrapped: BaseAdapter, installation: _Installation) -> None:
        super().__init__()
        self.__dict__.update(wrapped=wrapped, installation=installation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.wrapped, name, value)

    def __reduce__(self) -> tuple[type[_Propagating], tuple[BaseAdapter, _Installation]]:
        return _Propagating, (self.wrapped, self.installation)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        sent, written = _decided(request, self.installation.origins)
        try:
            response = self.wrapped.send(sent, *args, **kwargs)
        finally:
            for name in written & set(sent.headers):
                sent.headers[_Ours(name)] = sent.headers[name]
        # Authentication sends a second request through the connection of the first; adapters
        # that make their responses themselves may leave it out.
        if getattr(response, "connection", None) is self.wrapped:
            response.connection = cast("HTTPAdapter", self)
        return response

    def close(self) -> None:
        self.wrapped.close()


class _Name(str):
    """
    A header's name with a mark, which a copy of the request keeps and a pickle loses.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


class _Ours(_Name):
    """
    The name of a header that we wrote.
    """

    __slots__ = ()


class _Callers(_Name):
    """
    The name of a header that the caller wrote, and the origin that it was first sent to.
    """

    __slots__ = ("origin",)

    origin: Origin | None


def _decided(request: PreparedRequest, origins: Origins) -> tuple[PreparedRequest, set[str]]:
    """
    Return what is sent in place of a request, and the names of the headers that are ours.
    """
    sent, written = request, set[str]()
    try:
        sent = _without_marks(request)
        origin = origin_of(request.url or "")
        if origin in origins:
            written = _add(sent.headers)
        else:
            _remove_followers(request, sent, origin)
        _remember(request, origin)
    except Exception as error:
        report_failure("propagation by requests", error)
    return sent, written


def _without_marks(request: PreparedRequest) -> PreparedRequest:
    """
    Return a copy that has plain names, and none of the headers that we wrote.
    """
    copy = request.copy()
    copy.headers = CaseInsensitiveDict(
        {str(name): value for name, value in request.headers.items() if not isinstance(name, _Ours)}
    )
    return copy


def _add(headers: CaseInsensitiveDict[str | bytes]) -> set[str]:
    """
    Add the IDs in force that the caller has not written, and return their names.
    """
    ids = ids_to_send()
    written = {name for name in ids if name not in headers}
    headers.update({name: ids[name] for name in written})
    return written


def _remove_followers(
    request: PreparedRequest, sent: PreparedRequest, origin: Origin | None
) -> None:
    """
    Remove the caller's headers that a redirect has brought from another origin.
    """
    for name in request.headers:
        if isinstance(name, _Callers) and name.origin != origin:
            del sent.headers[name]


def _remember(request: PreparedRequest, origin: Origin | None) -> None:
    """
    Mark the caller's headers with the origin that they were written for.
    """
    managed = {spec.header.lower() for spec in get_binding().policy.specs.values()}
    for name, value in list(request.headers.items()):
        if name.lower() in managed and not isinstance(name, _Name):
            mark = _Callers(name)
            mark.origin = origin
            request.headers[mark] = value
