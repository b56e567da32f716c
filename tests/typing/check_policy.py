"""
Building a policy. Never run: mypy and pyright read it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import assert_type

from idlanyard import (
    EVERYONE,
    Cookie,
    Header,
    IDSpec,
    PathPrefix,
    Policy,
    Query,
    Subdomain,
    ids,
    request_spec,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard.certificates import forwarded_certificate, subject_field
from idlanyard.signing import Assertion

assert_type(Policy(), Policy)
assert_type(Policy.from_env(), Policy)
assert_type(session_spec(mint=ids.uuid7), IDSpec)
assert_type(user_spec(required=True, on_invalid="reject"), IDSpec)
assert_type(tenant_spec(log="hash"), IDSpec)
assert_type(request_spec(), IDSpec)

token = Assertion.bearer(
    issuer="https://login.example", audience=["api"], keys={"keys": []}, wait=2
)
assert_type(token, Assertion)
assert_type(token.claim(), Header)
assert_type(token.claim(["https://app.example/ids", "tenant"]), Header)
assert_type(token.wait_for_keys(5), bool)
with token as opened:
    assert_type(opened, Assertion)
Assertion.aws_alb(signer="arn", issuer="https://login.example", client="c1", keys=["pem", b"pem"])
Assertion.google_iap()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

everything = Policy(
    session=session_spec(sources=("X-Session-ID", Cookie("sid"), Query("sid")), charset="visible"),
    user=user_spec(header="X-Account"),
    tenant=None,
    extra=(
        request_spec(sources=(Header.traceparent(), Header("X-Request-ID", parse=str.strip))),
        IDSpec(
            name="device_id",
            header="X-Device-ID",
            sources=(Subdomain("example.org"), PathPrefix("/d/{device_id}")),
            charset=re.compile("[a-z]+"),
            mint=ids.token,
            echo="always",
            log="omit",
            span="hash",
            must_match=lambda value, request: request.path.endswith(value),
        ),
    ),
    trusted_peers=["10.0.0.0/8", "unix", ipaddress.ip_network("::1/128")],
    shared_secret=("X-Proxy-Secret", ["new", "old"]),
    exclude=("/health",),
    expose=True,
    hash_keys=[("k1", b"0123456789abcdef")],
    enabled=True,
)
Policy(trusted_peers=EVERYONE)
Policy(shared_secret=("X-Proxy-Secret", "secret"))
Policy(1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
Policy(user="X-User-ID")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
IDSpec("device_id", "X-Device-ID")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
everything.enabled = False  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

undo: Callable[[], None] = use_policy(everything)

session_spec(requird=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
session_spec("X-Session-ID")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
session_spec(name="other_id")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
user_spec(requird=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
user_spec("X-User-ID")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
user_spec(log="clera")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tenant_spec(requird=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tenant_spec("X-Tenant-ID")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tenant_spec(max_length="255")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
request_spec(name="correlation_id", header="X-Correlation-ID")
request_spec("X-Request-ID")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
request_spec(log="clera")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
request_spec(ehco=False)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Policy(heder="X-Session-ID")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
IDSpec(name="device_id", heder="X-D")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def introspect(line: str) -> str | None:
    return line or None


assert_type(Header("Authorization", verify=introspect), Header)
assert_type(subject_field("CN")("CN=alice"), str | None)
assert_type(Header("X-Forwarded-Client-Cert", parse=forwarded_certificate("URI")), Header)
