"""
requests: ``install(session, to=[...])`` sends the current IDs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Any, cast

from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict

from idlanyard._binding.outgoing import (
    IDSigner,
    add_ids_for_hop,
    check_signer,
    managed_headers,
)
from idlanyard._policy.origins import Origin, Origins, origin_of
from idlanyard.exceptions import IDLanyardError
from idlanyard.integrations.custom import report_failure

__all__ = ["install"]


def install(
    session: Session, *, to: Iterable[str], sign: IDSigner | None = None
) -> Callable[[], None]:
    """
    Add the current IDs to the requests that *session* sends to the origins *to*.

    The mounted adapters are wrapped, so that one that retries does so inside.
    The IDs and the origin are read whenever a request is sent, so that each
    hop of a redirect is decided by itself. A header that the caller wrote
    wins; it does not follow a redirect to an origin that is not on the list.
    Installing the same origins again wraps the adapters mounted since then.

    Args:
        session: a session with its adapters mounted.
        to: the origins that may have the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``.
        sign: a ``Signer`` of ``idlanyard.signing``, which vouches for the IDs
            that are proven, in headers of their own.

    Returns:
        A function that undoes this; calling it again does nothing.

    Raises:
        IDLanyardError: *session* has IDs for other origins, or another
            signer, already.
        PolicyError: an entry of *to* is no origin.
        TypeError: *session* or *sign* is something else.
    """
    origins = Origins(to)
    check_signer(sign)
    if not isinstance(session, Session):
        raise TypeError(
            f"install takes the Session of requests, not {_kind_of(session)}: for another client "
            f"write inject(headers, to=[...], url=...) before each request"
        )
    wrapped = [one for one in session.adapters.values() if isinstance(one, _Propagating)]
    installation = wrapped[0].installation if wrapped else _Installation(origins, sign)
    if installation.origins != origins:
        raise IDLanyardError(
            "this session has IDs for other origins already: install once with all of them, or "
            "call what the first install returned before the second"
        )
    if installation.sign != sign:
        raise IDLanyardError(
            "this session has another signer already: call what the first install returned before "
            "the second"
        )
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, _Propagating):
            session.mount(prefix, _Propagating(adapter, installation))
    return partial(_unwrap_adapters, session, installation)


def _kind_of(given: object) -> str:
    # With its module, since other packages have a Session as well.
    return f"{type(given).__module__}.{type(given).__qualname__}"


class _Installation:
    """
    The allow-list and the signer that the wrappers of one session share.
    """

    __slots__ = ("origins", "sign")

    def __init__(self, origins: Origins, sign: IDSigner | None) -> None:
        self.origins = origins
        self.sign = sign


def _unwrap_adapters(session: Session, installation: _Installation) -> None:
    # A wrapper that another package has wrapped in turn stays, and adds nothing any more.
    installation.origins = Origins([])
    for prefix, adapter in list(session.adapters.items()):
        if isinstance(adapter, _Propagating) and adapter.installation is installation:
            session.mount(prefix, adapter.wrapped)


class _Propagating(BaseAdapter):
    """
    An adapter around another one, whose attributes it reads and sets as its own.
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
        sent, added = _with_ids(request, self.installation)
        try:
            response = self.wrapped.send(sent, *args, **kwargs)
        finally:
            for name in added.keys() & set(sent.headers):
                sent.headers[_AddedName(name)] = sent.headers[name]
        # HTTPDigestAuth of requests sends its second request by this attribute. An adapter that
        # makes its responses by itself may leave it out.
        if getattr(response, "connection", None) is self.wrapped:
            response.connection = cast("HTTPAdapter", self)
        return response

    def close(self) -> None:
        self.wrapped.close()


class _MarkedName(str):
    """
    The name of a header with a mark that a copied request keeps and a pickled one loses.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


class _AddedName(_MarkedName):
    """
    The name of a header that we added.
    """

    __slots__ = ()


class _CallersName(_MarkedName):
    """
    The name of a header that the caller wrote.

    Attributes:
        origin: the origin that the request was first sent to.
    """

    __slots__ = ("origin",)

    origin: Origin | None


def _with_ids(
    request: PreparedRequest, installation: _Installation
) -> tuple[PreparedRequest, dict[str, str]]:
    """
    Return the request to send in place of *request*, and the headers that were added to it.
    """
    sent, added = request, dict[str, str]()
    origins, sign = installation.origins, installation.sign
    try:
        sent = _without_marks(request)
        url = request.url or ""
        origin = origin_of(url)
        # Before a signer may fail: without a mark, they would follow a redirect.
        _mark_callers_headers(request, origin, managed_headers(sign))
        added = add_ids_for_hop(sent.headers, url, origins, sign=sign)
        if origin not in origins:
            _remove_followers(request, sent, origin)
    except Exception as error:
        report_failure("propagation by requests", error)
    return sent, added


def _without_marks(request: PreparedRequest) -> PreparedRequest:
    """
    Return a copy that has plain names, without the headers that we added.
    """
    copy = request.copy()
    headers = request.headers.items()
    copy.headers = CaseInsensitiveDict(
        {str(name): value for name, value in headers if not isinstance(name, _AddedName)}
    )
    return copy


def _remove_followers(
    request: PreparedRequest, sent: PreparedRequest, origin: Origin | None
) -> None:
    """
    Remove the caller's headers that a redirect has brought from another origin.
    """
    for name in request.headers:
        if isinstance(name, _CallersName) and name.origin != origin:
            del sent.headers[name]


def _mark_callers_headers(
    request: PreparedRequest, origin: Origin | None, managed: Container[str]
) -> None:
    """
    Mark the caller's headers with the origin that they were written for.
    """
    for name, value in list(request.headers.items()):
        if name.lower() in managed and not isinstance(name, _MarkedName):
            mark = _CallersName(name)
            mark.origin = origin
            request.headers[mark] = value
