"""
What a policy says about itself: whom it believes, and why.
"""

from __future__ import annotations

from typing import Any

import pytest

from idlanyard import (
    EVERYONE,
    Admission,
    Baggage,
    Cookie,
    Environ,
    Header,
    IDSpec,
    PathPrefix,
    Policy,
    Query,
    Scope,
    Subdomain,
    ids,
    request_spec,
    session_spec,
    tenant_spec,
    user_spec,
)
from idlanyard.certificates import forwarded_certificate, subject_field

SECRET = "s3cret-" * 5
FORWARDED = Header("X-Forwarded-Client-Cert", parse=forwarded_certificate("Subject", "CN"))
IN_ONE_LINE = Environ("SSL_CLIENT_S_DN", parse=subject_field("CN", one_line=True))
SIGNED = Header("Authorization", verify=str)


def test_the_default_policy_believes_nobody_about_users() -> None:
    """
    The session is the client's word, and user and tenant are dropped.
    """
    nobody = "believed from nobody, as trusted_peers and shared_secret are empty (peer)"
    assert Policy().explain().splitlines() == [
        (
            "session_id: X-Session-ID, believed from anyone (client), who proves nothing; minted "
            "where it is absent."
        ),
        f"user_id: X-User-ID, {nobody}; absent otherwise.",
        f"tenant_id: X-Tenant-ID, {nobody}; absent otherwise.",
        (
            "jobs and messages: an ID of another process proves nothing, as queue_keys and "
            "trusted_queue are not set."
        ),
    ]


EXPLAINED = {
    "peers and a secret": (
        Policy(trusted_peers=["10.0.0.5", "unix"], shared_secret=("X-Proxy-Secret", SECRET)),
        (
            "user_id: X-User-ID, believed from 10.0.0.5, unix, those who know the secret in "
            "X-Proxy-Secret (peer); absent otherwise."
        ),
    ),
    "everyone": (
        Policy(trusted_peers=EVERYONE),
        "user_id: X-User-ID, believed from everyone (peer); absent otherwise.",
    ),
    "everyone weakens": (
        Policy(trusted_peers=EVERYONE),
        "trusted_peers: holds every public address, so any client may claim any user.",
    ),
    "verified": (
        Policy(user=user_spec(sources=[SIGNED])),
        "user_id: Authorization, which is verified whoever sends it (signed); absent otherwise.",
    ),
    "verified, and peers": (
        Policy(
            user=user_spec(sources=[Header("X-A", verify=str, peers_too=True)]),
            trusted_peers=["10.0.0.5"],
        ),
        "user_id: X-A, which is verified and from 10.0.0.5 (signed); absent otherwise.",
    ),
    "the server": (
        Policy(user=user_spec(sources=[Scope("user.name"), Environ("REMOTE_USER")])),
        (
            "user_id: user.name in the ASGI scope or REMOTE_USER in the WSGI environ, which the "
            "server sets and no client (code); absent otherwise."
        ),
    ),
    "a certificate of the server": (
        Policy(
            user=user_spec(
                sources=[
                    Scope("extensions.tls.client_cert_name", parse=subject_field("CN")),
                    Environ("SSL_CLIENT_S_DN", parse=lambda text: text),
                ]
            )
        ),
        (
            "user_id: the CN of the client certificate in extensions.tls.client_cert_name in the "
            "ASGI scope or what a function finds in SSL_CLIENT_S_DN in the WSGI environ, which "
            "the server sets and no client (code); absent otherwise."
        ),
    ),
    "a certificate of a proxy": (
        Policy(user=user_spec(sources=[FORWARDED]), trusted_peers=["10.0.0.5"]),
        (
            "user_id: the CN of the only certificate in X-Forwarded-Client-Cert, believed from "
            "10.0.0.5 (peer); absent otherwise."
        ),
    ),
    "a certificate of anyone": (
        Policy(session=session_spec(sources=[FORWARDED])),
        (
            "X-Forwarded-Client-Cert: anyone may write it, so the session_id in it is of no "
            "certificate."
        ),
    ),
    "minted here": (
        Policy(session=session_spec(signed=[SECRET])),
        (
            "session_id: X-Session-ID, only with a signature of this service (signed); minted "
            "where it is absent."
        ),
    ),
    "required": (
        Policy(tenant=tenant_spec(required=True), trusted_peers=["10.0.0.5"]),
        (
            "tenant_id: X-Tenant-ID, believed from 10.0.0.5 (peer); without it a request is "
            "answered 401."
        ),
    ),
    "required and minted": (
        Policy(session=session_spec(required=True)),
        (
            "session_id: X-Session-ID, believed from anyone (client), who proves nothing; without "
            "it a request is answered 400."
        ),
    ),
    "signed, and from a sender": (
        Policy(
            extra=[IDSpec(name="device_id", header="X-Device-ID", mint=ids.token, signed=[SECRET])],
            trusted_peers=["10.0.0.5"],
        ),
        (
            "device_id: X-Device-ID, only with a signature of this service, from 10.0.0.5 "
            "(signed); minted where it is absent."
        ),
    ),
    "required of anyone": (
        Policy(extra=[request_spec(mint=None, required=True)]),
        (
            "request_id: X-Request-ID, believed from anyone (client), who proves nothing; without "
            "it a request is answered 400."
        ),
    ),
    "many sources": (
        Policy(
            session=session_spec(
                sources=[
                    Header.traceparent(),
                    Cookie("sid"),
                    Query("s"),
                    Subdomain("app.example"),
                    PathPrefix("/t/{id}"),
                    Baggage("session.id"),
                ]
            )
        ),
        (
            "session_id: what a function finds in traceparent or the cookie sid or the query "
            "parameter s or the label before app.example in Host or the path /t/{id} or the "
            "member session.id of baggage, believed from anyone (client), who proves nothing; "
            "minted where it is absent."
        ),
    ),
    "known sessions": (
        Policy(admission=Admission(lambda session: True)),
        (
            "session_id: X-Session-ID, believed from anyone (client), who proves nothing; minted "
            "where it is absent; one that Admission does not know is treated as absent."
        ),
    ),
    "known sessions alone": (
        Policy(admission=Admission(lambda session: True, unknown="refuse")),
        (
            "session_id: X-Session-ID, believed from anyone (client), who proves nothing; minted "
            "where it is absent; one that Admission does not know is answered 404."
        ),
    ),
    "a subject in one line": (
        Policy(user=user_spec(sources=[IN_ONE_LINE])),
        (
            "one_line: the CN of the client certificate in SSL_CLIENT_S_DN in the WSGI environ may "
            "be a part of another field with a slash."
        ),
    ),
    "a socket without an address": (
        Policy(assume_unix=True),
        "assume_unix: a peer without an address counts as the unix socket.",
    ),
    "an unsafe server": (
        Policy(unsafe_server_ok=True),
        "unsafe_server_ok: an alias such as X_User_ID may replace a header.",
    ),
    "excluded": (
        Policy(exclude=["/health", "/static/*"]),
        "exclude: no ID is bound in requests for /health, /static/*.",
    ),
    "off": (Policy(enabled=False), "enabled: no ID is bound in any request."),
    "a trusted queue": (
        Policy(trusted_queue=True),
        (
            "jobs and messages: an ID is as proven as the message says, whoever has written it "
            "(trusted_queue)."
        ),
    ),
    "signed jobs": (
        Policy(queue_keys=[SECRET]),
        (
            "jobs and messages: an ID is as proven as the message says if one of queue_keys has "
            "signed it, and proves nothing otherwise."
        ),
    ),
    "signed jobs, and others": (
        Policy(queue_keys=[SECRET], trusted_queue=True),
        (
            "jobs and messages: an ID is as proven as the message says if one of queue_keys has "
            "signed it or nobody has (trusted_queue)."
        ),
    ),
}


@pytest.mark.parametrize("case", EXPLAINED)
def test_a_policy_explains_each_id(case: str) -> None:
    """
    One line says where an ID is read, from whom it is believed, and what becomes of its absence.
    """
    policy, line = EXPLAINED[case]
    assert line in policy.explain().splitlines()


def test_no_explanation_has_a_secret() -> None:
    """
    The text may be logged: keys and secrets are not in it.
    """
    policy = Policy(
        session=session_spec(signed=[SECRET], log="hash"),
        shared_secret=("X-Proxy-Secret", SECRET),
        hash_keys=[("k1", SECRET)],
        queue_keys=[SECRET],
    )
    assert SECRET not in policy.explain()


BELIEVED: dict[str, tuple[Any, list[str]]] = {
    "by its name": (lambda: user_of("X-Forwarded-Client-Cert", None), ["X-Forwarded-Client-Cert"]),
    "by the function": (lambda: user_of("X-Client-DN", subject_field("CN")), ["X-Client-DN"]),
    "another header": (lambda: user_of("X-Client-DN", None), []),
    "another function": (lambda: user_of("X-Client-DN", str.strip), []),
    "of a trusted proxy": (
        lambda: Policy(user=user_spec(sources=[FORWARDED]), trusted_peers=["10.0.0.5"]),
        [],
    ),
    "of the server": (
        lambda: Policy(
            session=session_spec(sources=[Environ("SSL_CLIENT_S_DN", parse=subject_field("CN"))])
        ),
        [],
    ),
}


def test_each_header_about_a_certificate_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """
    S1: the warning about one header does not use up that about another.
    """
    for name in ("X-Client-DN", "X-Other-DN"):
        user_of(name, subject_field("CN"))
    said = [record.getMessage() for record in caplog.records]
    assert [line.split()[6] for line in said] == ["X-Client-DN", "X-Other-DN"]


def user_of(name: str, parse: Any) -> Policy:
    """
    Return a policy that reads the user out of one header of anyone.
    """
    return Policy(user=user_spec(sources=[Header(name, parse=parse)], accept="anyone"))


@pytest.mark.parametrize("case", BELIEVED)
def test_a_certificate_of_anyone_is_warned_of(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    S1: a header about a certificate proves nothing if any client may write it; told once.
    """
    build, headers = BELIEVED[case]
    for _ in range(2):
        build()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(headers)
    for line, name in zip(said, headers, strict=True):
        assert f"user_id is read out of {name} and accepted from anyone" in line
        assert "write accept='proven', and trusted_peers with the address of the proxy" in line
