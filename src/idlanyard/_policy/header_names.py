"""
The names that a header of ours may have, and what to write in place of another one.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MOST_HYPHENS: Final = 8
_OWNED: Final = frozenset(
    # HTTP and browsers
    "a-im accept accept-ch accept-charset accept-datetime accept-encoding accept-language "
    "accept-ranges access-control-request-headers access-control-request-method age allow "
    "alt-svc authentication-info authorization cache-control clear-site-data connection "
    "content-disposition content-encoding content-language content-length content-location "
    "content-range content-security-policy content-type cookie cookie2 date dnt early-data "
    "etag expect expires forwarded from host http2-settings if-match if-modified-since "
    "if-none-match if-range if-unmodified-since keep-alive last-event-id last-modified link "
    "location max-forwards origin permissions-policy pragma prefer priority "
    "proxy-authenticate proxy-authorization proxy-connection range referer referrer-policy "
    "retry-after save-data sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user "
    "sec-websocket-accept sec-websocket-extensions sec-websocket-key sec-websocket-protocol "
    "sec-websocket-version server service-worker set-cookie strict-transport-security te "
    "trailer transfer-encoding upgrade upgrade-insecure-requests user-agent vary via warning "
    "www-authenticate x-requested-with "
    # proxies
    "cdn-loop cf-connecting-ip client-ip fastly-client-ip fly-client-ip true-client-ip "
    "x-accel-redirect x-client-ip x-cluster-client-ip x-forwarded x-forwarded-by "
    "x-forwarded-for x-forwarded-host x-forwarded-path x-forwarded-port x-forwarded-prefix "
    "x-forwarded-proto x-forwarded-protocol x-forwarded-scheme x-forwarded-server "
    "x-forwarded-ssl x-http-method-override x-original-forwarded-for x-original-uri "
    "x-original-url x-real-ip x-script-name x-sendfile x-url-scheme "
    # tracing: the whole line is no ID
    "b3 baggage grpc-trace-bin sentry-trace traceparent tracestate uber-trace-id "
    "x-amzn-trace-id x-cloud-trace-context x-datadog-sampling-priority "
    # credentials
    "api-key apikey dpop idempotency-key private-token x-access-token x-api-key x-apikey "
    "x-auth-token x-csrf-token x-csrftoken x-goog-api-key x-xsrf-token".split()
)
_SOURCES: Final = {
    "traceparent": "Header.traceparent()",
    "x-amzn-trace-id": "Header.amzn_trace_id()",
    "baggage": "Baggage('session.id')",
    "cookie": "Cookie('sid')",
    "host": "Subdomain('app.example')",
}


class Fault(NamedTuple):
    """
    The fault of a header's name.

    Attributes:
        why: the end of a sentence that begins with the name.
        instead: the name that was probably meant, or ``""``.
        source: the code of a source that reads such a header, or ``""``.
    """

    why: str
    instead: str = ""
    source: str = ""


def fold_header(name: str) -> str:
    """
    Return what all spellings of a header's name have in common.
    """
    return name.lower().replace("_", "-")


def is_owned(name: str) -> bool:
    """
    Return whether HTTP, proxies or applications give the header a meaning of its own.
    """
    return fold_header(name) in _OWNED


def find_header_fault(name: object) -> Fault | None:
    """
    Return the fault of a header's name, or ``None`` if it may be a header of any kind.
    """
    if not isinstance(name, str):
        return Fault("is no header name")
    if name.upper().startswith("HTTP_"):
        return Fault("is a key of META or environ", _write_header(name[5:]))
    if not _TOKEN.fullmatch(name):
        return Fault(
            "is no header name, which has letters, digits and '-' "
            "('_' as well, but many proxies drop it)",
            "-".join(re.findall(r"[A-Za-z0-9_]+", name)),
        )
    if name.count("-") + name.count("_") > _MOST_HYPHENS:
        return Fault(f"can be spelled in too many ways, having more than {_MOST_HYPHENS} hyphens")
    return None


def find_plain_header_fault(name: object) -> Fault | None:
    """
    Return the fault of the name of a header whose whole line is an ID, or ``None``.
    """
    fault = find_header_fault(name)
    wire = fault.instead if fault else str(name)
    if is_owned(wire):
        source = _SOURCES.get(fold_header(wire), "")
        return Fault("has a meaning of its own", source=source)
    return fault


def derive_header(name: str) -> str:
    """
    Return the usual header for an ID: ``X-Device-ID`` for ``device_id``.
    """
    return f"X-{_write_header(name)}"


def derive_name(header: str) -> str:
    """
    Return the usual name of the ID in a header: ``device_id`` for ``X-Device-ID``.
    """
    return re.sub(r"[^a-z0-9]+", "_", header.lower().removeprefix("x-"))


def _write_header(name: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", name)
    return "-".join("ID" if word.upper() == "ID" else word.capitalize() for word in words)
