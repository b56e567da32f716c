"""
IDs that leave this process in the headers of a request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from idlanyard import _failures
from idlanyard._binding.reading import iterate_current, process_session_id
from idlanyard._binding.snapshot import lower_for_others
from idlanyard._binding.state import find_request_ids, get_binding
from idlanyard.ids import Provenance

if TYPE_CHECKING:
    from idlanyard._policy.origins import Origins

_LINE_BREAK: Final = re.compile(r"[\x00-\x1f\x7f]")


class IDSigner(Protocol):
    """
    An object that signs IDs for the services that outgoing requests go to.
    """

    @property
    def headers(self) -> Mapping[str, str]:
        """
        The header that has the signed value of an ID, by the name of the ID.
        """
        ...

    def sign(self, name: str, value: str, url: str) -> str:
        """
        Return the signed value of an ID for the service at *url*.
        """
        ...


def check_signer(sign: object) -> None:
    """
    Check that the ``sign`` of a caller is a signer, or ``None``.

    Raises:
        TypeError: *sign* is something else.
    """
    is_signer = hasattr(sign, "headers") and callable(getattr(sign, "sign", None))
    if sign is not None and (isinstance(sign, type) or not is_signer):
        kind = sign.__name__ if isinstance(sign, type) else type(sign).__name__
        raise TypeError(
            f"sign takes a signer, not {kind}: write "
            f"sign=Signer(keys=[os.environ['SIGNING_KEY']]) with Signer of idlanyard.signing"
        )


def inject(
    headers: MutableMapping[str, Any],
    *,
    to: Iterable[str] | None = None,
    url: str | None = None,
    lower: bool = False,
    sign: IDSigner | None = None,
) -> None:
    """
    Add the current IDs to outgoing headers, in place.

    A header that is there already, in any case, wins. The URL is checked
    once, by this call: a client that follows a redirect by itself sends the
    headers again, also to an origin that is not in *to*. Switch redirects off
    (``redirect=False``, ``follow_redirects=False``) and call ``inject`` for
    each hop, or use the ``install`` of an integration.

    Args:
        headers: any mutable mapping of header names.
        to: the origins that may be sent the IDs, such as
            ``"https://api.example"`` or ``"https://*.internal.example"``;
            without it, the call itself is the permission.
        url: the URL of the request; needed with *to*.
        lower: write names in lower case, as gRPC metadata and HTTP/2 require.
        sign: a ``Signer`` of ``idlanyard.signing``, which adds the signed
            headers of the IDs that are proven; needs *to* and *url*.

    Raises:
        PolicyError: an entry of *to* is not an origin.
        TypeError: *to* is given without *url*, *sign* without *to*, *sign* is
            no signer, or *headers* is no mapping.
    """
    if not isinstance(headers, MutableMapping):
        raise TypeError(
            f"inject changes a mapping in place, not {type(headers).__name__}: write ids = {{}}; "
            f"inject(ids), and add ids.items()"
        )
    check_signer(sign)
    if to is not None:
        from idlanyard._policy.origins import Origins

        origins = Origins(to)
        if url is None:
            raise TypeError("inject(to=...) decides by the URL: give url=... as well")
        if not origins.allow(url):
            return
    elif sign is not None:
        raise TypeError("inject(sign=...) signs for one receiver: give to=[...] and url=... too")
    for name, value in _headers_to_add(headers, url, sign).items():
        headers[name.lower() if lower else name] = value


def _headers_to_add(
    headers: MutableMapping[str, Any], url: str | None, sign: IDSigner | None
) -> dict[str, str]:
    """
    Return the headers of the current IDs, plain and signed, that a request does not have yet.

    Args:
        headers: the headers of the request, in any case.
        url: where the request goes, if there is a signer.
        sign: the signer, or ``None``.
    """
    written = {str(name).lower() for name in headers}
    signed: Mapping[str, str] = {} if sign is None else sign.headers
    added: dict[str, str] = {}
    for spec, value, how in iterate_current("propagate"):
        # By the plain header the caller may mean another user, whom no signature may contradict.
        if spec.header.lower() in written:
            continue
        added[spec.header] = value
        header = signed.get(spec.name)
        if sign is None or url is None or header is None or not _may_be_signed(how):
            continue
        if header.lower() == spec.header.lower():
            del added[spec.header]
        if header.lower() not in written:
            added[header] = _sign_id(sign, spec.name, value, url)
    return added


def _sign_id(sign: IDSigner, name: str, value: str, url: str) -> str:
    """
    Return the signed value of an ID.

    Raises:
        ValueError: the signer returned something that no header can have.
    """
    line: object = sign.sign(name, value, url)
    # A client that refuses it would be left with some of the headers, and fail the call.
    if isinstance(line, str) and line and line.isascii() and line.isprintable():
        return line
    raise ValueError(
        f"the signer returned no text for {name} that a header can have: let sign() return "
        f"printable ASCII on one line"
    )


def _may_be_signed(how: Provenance) -> bool:
    """
    Return whether an ID that came in this way is proven enough to be signed.
    """
    # A client or the environment proves nothing, and a signature must not make it look proven.
    return lower_for_others(how, get_binding().policy).proven


def _warn_if_over(headers: Mapping[str, str]) -> None:
    """
    Log a warning, once, if *headers* are sent for a request that is over.

    A client whose sending runs in a task or a thread that a request has
    opened sends the IDs of that request for ever, also for other requests.
    Work that a request leaves behind is right to send them.
    """
    request_ids = find_request_ids()
    if headers and request_ids is not None and not request_ids.open:
        _failures.warn_once(
            "outgoing after the request",
            "idlanyard: an outgoing request carries the IDs of a request that is over: that is "
            "right for work which this request has left behind; if it was sent for somebody else, "
            "open the client, its connection or its task in 'with without():'",
        )


def add_ids_for_hop(
    headers: MutableMapping[str, Any],
    url: str,
    origins: Origins,
    *,
    sign: IDSigner | None = None,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """
    Add the current IDs to the headers of a request that is about to be sent, in place.

    A header that the caller wrote wins. The headers that an earlier sending
    of the same request has added are removed first, so that a redirect or a
    second attempt decides anew.

    Args:
        headers: the client's own mapping, in which case makes no difference.
        url: where this sending goes.
        origins: the origins that may be sent IDs.
        sign: the signer of the IDs that are proven, or ``None``.
        earlier: what this function returned for the sending before.

    Returns:
        The headers that were added: remember them beside the request.
    """
    for name, value in (earlier or {}).items():
        # A value that the caller has put in its place since then is the caller's.
        if headers.get(name) == value:
            del headers[name]
    if not origins.allow(url):
        return {}
    added = _headers_to_add(headers, url, sign)
    _warn_if_over(added)
    for name, value in added.items():
        headers[name] = value
    return added


def managed_headers(sign: IDSigner | None = None) -> frozenset[str]:
    """
    Return the names of the headers that the policy and the signer declare, in lower case.
    """
    plain = {spec.header.lower() for spec in get_binding().policy.specs.values()}
    signed = () if sign is None else sign.headers.values()
    return frozenset(plain.union(name.lower() for name in signed))


def prepare_request_headers(
    headers: MutableMapping[str, Any], *, env_headers: Mapping[str, str] | None = None
) -> None:
    """
    Add the IDs to the outgoing headers of a script, in place.

    Like ``inject``, but without a current session ``process_session_id()`` is
    sent.

    Args:
        headers: any mutable mapping of header names.
        env_headers: headers and the environment variables that hold their
            values, as in ``{"X-API-KEY": "MY_API_KEY"}``; a header is added
            if its variable is set and the header is absent.

    Raises:
        ValueError: a variable holds a control character.
    """
    inject(headers)
    session = get_binding().policy.specs.get("session_id")
    if session is not None:
        _add_if_absent(headers, session.header, process_session_id())
    for header, variable in (env_headers or {}).items():
        value = os.environ.get(variable)
        if value and _LINE_BREAK.search(value):
            raise ValueError(f"{variable} holds a control character, which no header may")
        if value:
            _add_if_absent(headers, header, value)


def _add_if_absent(headers: MutableMapping[str, Any], name: str, value: str) -> None:
    if name.lower() not in {str(key).lower() for key in headers}:
        headers[name] = value
