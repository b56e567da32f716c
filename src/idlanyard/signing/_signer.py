"""
``Signer``: vouch for the current IDs to the services that are called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from idlanyard._policy.origins import origin_of
from idlanyard.exceptions import PolicyError
from idlanyard.signing._signatures import FieldKeys, parse_audience, parse_field, parse_keys
from idlanyard.signing._signed_header import check_header

_store: Final = object.__setattr__
_HEADERS: Final = {"user_id": "X-Signed-User-ID", "tenant_id": "X-Signed-Tenant-ID"}


@dataclass(frozen=True, kw_only=True)
class Signer:
    """
    The keys and headers by which this service vouches for IDs in outgoing requests.

    Pass it as ``sign`` to ``install`` or ``propagate`` of an integration, or
    to ``inject``. An ID is signed if it is proven, current when the request
    is sent, and declared with ``propagate=True``; one that only a client or
    the environment has given is never signed.

    Args:
        keys: the keys, at least 32 bytes each. The first one signs; others
            may stay in the list.
        audience: the name that the called services give to ``SignedHeader``.
            By default the signature is for the origin of each request, so
            that no called service can use it at another one.
        headers: the header of the signed value, by the name of the ID; by
            default ``X-Signed-User-ID`` and ``X-Signed-Tenant-ID``.

    Raises:
        PolicyError: an option is wrong; the message says what to write.
        ImportError: itsdangerous is not installed.
    """

    keys: Sequence[str | bytes] = dataclasses.field(repr=False)
    audience: str | None = None
    headers: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: dict(_HEADERS), hash=False
    )
    _fields: Mapping[str, FieldKeys] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = parse_keys(self.keys)
        if self.audience is not None:
            _store(self, "audience", parse_audience(self.audience))
        headers = _parse_headers(self.headers)
        _store(self, "keys", keys)
        _store(self, "headers", headers)
        _store(self, "_fields", {name: FieldKeys(name, keys) for name in headers})

    def sign(self, name: str, value: str, url: str) -> str:
        """
        Return the signed value of an ID for the service at *url*.

        Args:
            name: the name of the ID, one of ``headers``.
            value: the ID.
            url: where the request goes.

        Raises:
            KeyError: *name* is not one of ``headers``.
            ValueError: *value* is no ID, or *url* has no origin, or is read
                differently by different clients.
        """
        audience = self.audience
        if audience is None:
            origin = origin_of(url)
            if origin is None:
                raise ValueError("the URL has no origin that a signature could be for")
            audience = str(origin)
        field = "tenant_id" if name == "customer_id" else name
        return self._fields[field].sign(value, audience)


def _parse_headers(headers: object) -> dict[str, str]:
    """
    Return the headers by the names of their IDs.
    """
    given = cast("Mapping[object, Any]", headers if isinstance(headers, Mapping) else {})
    if not given:
        raise PolicyError.about(
            "headers",
            f"has the header of each ID that is signed: write headers={_HEADERS!r}",
            given,
        )
    parsed: dict[str, str] = {}
    for name, header in given.items():
        check_header("headers", header)
        parsed[parse_field(name)] = header
    if len(parsed) < len(given):
        raise PolicyError.about(
            "headers", "has tenant_id and customer_id, which name one ID: give one of them", given
        )
    if len({header.lower() for header in parsed.values()}) < len(parsed):
        raise PolicyError.about(
            "headers", f"has one header for two IDs: write headers={_HEADERS!r}", given
        )
    return parsed
