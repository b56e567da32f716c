"""
Django: the system checks, and what is said of settings that do nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import INFO, CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.test import Client, override_settings

from idlanyard import EVERYONE, Header, Policy, asgi, wsgi
from idlanyard.certificates import forwarded_certificate, subject_field
from idlanyard.integrations.django import policy_from_settings
from integrations.apps.django_failing import Routes
from integrations.apps.django_settings import AUTHENTICATION, IDENTIFY_USER, OURS, SESSIONS

LINES = [OURS, SESSIONS, AUTHENTICATION, IDENTIFY_USER]
STORES = "django.middleware.cache.UpdateCacheMiddleware"
ASGI = "idlanyard.asgi.SessionContextMiddleware"
WSGI = "idlanyard.wsgi.SessionContextMiddleware"
PEERS = ["10.0.0.1"]
PROVEN = {"TRUSTED_PEERS": PEERS}
VERIFIED = Header("Authorization", verify=str)
VERIFIED_FROM_PEERS = Header("X-Amzn-Oidc-Data", verify=str, peers_too=True)
CERTIFICATE = Header("X-Client-DN", parse=subject_field("CN"))
NAMED = {"USER": {"HEADER": "X-Auth-User"}}

CHECKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all is well": ({"IDLANYARD": PROVEN}, []),
    "as documented": ({}, []),
    "a secret": ({"IDLANYARD": NAMED | {"SHARED_SECRET": ("X-Proof", "s" * 32)}}, []),
    "no line": ({"MIDDLEWARE": LINES[1:3]}, ["idlanyard.W001"]),
    "not first": ({"MIDDLEWARE": [SESSIONS, OURS]}, ["idlanyard.W002"]),
    "twice": ({"MIDDLEWARE": [OURS, SESSIONS, OURS]}, ["idlanyard.W005"]),
    "the class for ASGI": ({"MIDDLEWARE": [ASGI, *LINES[1:3]]}, ["idlanyard.E004"]),
    "the class for WSGI": ({"MIDDLEWARE": [WSGI, OURS]}, ["idlanyard.E004"]),
    "users before us": (
        {"MIDDLEWARE": [SESSIONS, AUTHENTICATION, IDENTIFY_USER, OURS]},
        ["idlanyard.W002", "idlanyard.E001"],
    ),
    "cached above us": ({"MIDDLEWARE": [STORES, OURS]}, ["idlanyard.W002", "idlanyard.E003"]),
    "cached below us": ({"MIDDLEWARE": [OURS, STORES]}, []),
    "switched off": ({"IDLANYARD": NAMED | {"ENABLED": False}}, []),
    "users before they are found": (
        {"MIDDLEWARE": [OURS, SESSIONS, IDENTIFY_USER, AUTHENTICATION]},
        ["idlanyard.E001"],
    ),
    "users found by others": ({"MIDDLEWARE": [OURS, IDENTIFY_USER]}, []),
    "nobody is trusted": ({"IDLANYARD": NAMED}, ["idlanyard.W003"]),
    "nobody is trusted with tenants": (
        {"IDLANYARD": {"TENANT": {"REQUIRED": True}}},
        ["idlanyard.W003"],
    ),
    "a session of another name": ({"IDLANYARD": {"SESSION": {"HEADER": "X-Conversation"}}}, []),
    "users are verified": (
        {"IDLANYARD": {"USER": {"SOURCES": [VERIFIED]}, "TENANT": None}},
        [],
    ),
    "users are verified and need a peer": (
        {"IDLANYARD": {"USER": {"SOURCES": [VERIFIED_FROM_PEERS]}, "TENANT": None}},
        ["idlanyard.W003"],
    ),
    "nothing needs trust": ({"IDLANYARD": {"USER": None, "TENANT": None}}, []),
    "everyone is trusted": ({"IDLANYARD": {"TRUSTED_PEERS": EVERYONE}}, ["idlanyard.W004"]),
    "a network that is everybody": (
        {"IDLANYARD": {"TRUSTED_PEERS": ["::/0"]}},
        ["idlanyard.W004"],
    ),
    "networks of everybody are trusted": (
        {"IDLANYARD": {"TRUSTED_PEERS": ["0.0.0.0/0", "::/0"]}},
        ["idlanyard.W004"],
    ),
    "everyone while debugging": ({"IDLANYARD": {"TRUSTED_PEERS": EVERYONE}, "DEBUG": True}, []),
    "certificates of anyone": (
        {"IDLANYARD": {"USER": {"SOURCES": [CERTIFICATE], "ACCEPT": "anyone"}}},
        ["idlanyard.W007"],
    ),
    "wrong settings": ({"IDLANYARD": {"TRUST": 1}}, ["idlanyard.E002"]),
    "a setting for each option": ({"IDLANYARD_TRUSTED_PEERS": PEERS}, ["idlanyard.W006"]),
    "and wrong settings": (
        {"IDLANYARD_TRUSTED_PEERS": PEERS, "IDLANYARD": {"TRUST": 1}},
        ["idlanyard.W006", "idlanyard.E002"],
    ),
}


@contextmanager
def configured(**given: Any) -> Iterator[None]:
    """
    Give Django these settings, and otherwise those of the page.
    """
    with override_settings(**{"MIDDLEWARE": LINES, "IDLANYARD": None} | given):
        yield


def found(*, deploy: bool = False) -> list[CheckMessage]:
    messages = run_checks(include_deployment_checks=deploy)
    return [message for message in messages if (message.id or "").startswith("idlanyard.")]


@pytest.mark.parametrize("name", CHECKS)
def test_system_checks_find_what_does_not_work(name: str) -> None:
    """
    The place in MIDDLEWARE, headers that nobody vouches for, trust in everyone and settings that
    do nothing are told, each with what to do; the documented set-up has no warning.
    """
    options, expected = CHECKS[name]
    with configured(**options):
        messages = found()
    assert [message.id for message in messages] == expected
    assert all(message.hint for message in messages)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(None, ["idlanyard.I001", "idlanyard.W003"], id="usual"),
        pytest.param(NAMED, ["idlanyard.W003", "idlanyard.I001"], id="meant, said once"),
        pytest.param(PROVEN, ["idlanyard.I001"], id="trusted"),
        pytest.param({"USER": None, "TENANT": None}, ["idlanyard.I001"], id="left out"),
        pytest.param({"TRUST": 1}, ["idlanyard.E002"], id="wrong"),
    ],
)
def test_a_deployment_is_asked_for_its_proxy(given: Any, expected: list[str]) -> None:
    """
    ``check --deploy`` names the headers that are dropped also where nothing says they are meant.
    """
    with configured(IDLANYARD=given):
        assert [message.id for message in found(deploy=True)] == expected


def test_a_deployment_is_told_what_it_believes() -> None:
    """
    ``check --deploy`` has a line for each ID, with no secret in it.
    """
    secret = "s3cret-" * 5
    with configured(IDLANYARD={"SHARED_SECRET": ("X-Proof", secret)}):
        (message,) = found(deploy=True)
    assert message.level == INFO
    believed = "user_id: X-User-ID, believed from those who know the secret in X-Proof (peer)"
    assert believed in message.msg
    assert secret not in str(message)


def test_the_headers_that_are_read_are_the_ones_that_are_dropped() -> None:
    """
    R6: a check names the header of a source, and not the one that the application sees.
    """
    forwarded = Header("X-Forwarded-Client-Cert", parse=forwarded_certificate("URI"))
    with configured(IDLANYARD={"USER": {"SOURCES": [forwarded]}, "TENANT": None}):
        (message,) = found()
    assert message.msg.startswith("X-Forwarded-Client-Cert: these headers need a proof")


def test_what_a_check_says_to_write_silences_it() -> None:
    """
    R14: followed literally, the hint of W003 is the end of it.
    """
    with configured(IDLANYARD=NAMED):
        (message,) = found()
        hint = str(message.hint)
    written: dict[str, Any] = {}
    exec(hint[hint.index("SILENCED") :].rstrip("."), written)
    with configured(IDLANYARD=NAMED, SILENCED_SYSTEM_CHECKS=written["SILENCED_SYSTEM_CHECKS"]):
        assert [m.is_silenced() for m in found()] == [True]


@pytest.mark.parametrize(
    ("given", "idle", "expected"),
    [
        pytest.param(
            {},
            {"IDLANYARD_TRUSTED_PEERS": PEERS},
            {"trusted_peers": tuple(PEERS)},
            id="none beside it",
        ),
        pytest.param(
            {},
            {"IDLANYARD_TRUSTED_PROXIES": PEERS, "IDLANYARD_EXCLUDE": ["/health"]},
            {"trusted_peers": tuple(PEERS)},
            id="several, one by another name",
        ),
        pytest.param(
            {"IDLANYARD": {"EXPOSE": True}},
            {"IDLANYARD_TRUSTED_PEERS": PEERS},
            {"trusted_peers": tuple(PEERS), "expose": True},
            id="beside a mapping",
        ),
        pytest.param(
            {"IDLANYARD": Policy(expose=True)},
            {"IDLANYARD_TRUSTED_PEERS": PEERS},
            {"trusted_peers": tuple(PEERS), "expose": True},
            id="beside a policy",
        ),
    ],
)
def test_a_setting_for_each_option_is_told_what_to_write(
    given: Any, idle: Any, expected: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R14: options spelt as Flask spells them are told, by the check and when Django starts; written
    as it says, they are in force and nothing is told any more.
    """
    with configured(**given, **idle):
        with caplog.at_level(logging.WARNING, "idlanyard"):
            get_wsgi_application()
        (message,) = found()
        hint = str(message.hint)
    assert f"{message.msg[:-1]}: {hint[0].lower()}{hint[1:]}" in caplog.text
    written = {"dataclasses": dataclasses, **given, **idle}
    exec(hint.removeprefix("Write "), written)
    with configured(IDLANYARD=written["IDLANYARD"], **idle):
        policy = policy_from_settings()
        assert {name: getattr(policy, name) for name in expected} == expected
        assert found() == []


@pytest.mark.parametrize("name", ["IDLANYARD_QQQ", "IDLANYARD_SESSION_ID"])
def test_a_setting_that_means_no_option_is_told_them_all(name: str) -> None:
    """
    R14: where no option is near, all are named.
    """
    with configured(**{name: "s1"}):
        (message,) = found()
    assert name in message.msg
    assert "SESSION, USER, TENANT" in str(message.hint)


def test_settings_that_are_used_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """
    A project may keep the values under names of its own; and without any nothing is logged.
    """
    with configured(IDLANYARD=PROVEN, IDLANYARD_TRUSTED_PEERS=PEERS):
        get_wsgi_application()
        assert found() == []
    assert caplog.records == []


@pytest.mark.parametrize("line", [ASGI, WSGI])
@pytest.mark.parametrize("below", [[], LINES[1:3]], ids=["alone", "above others"])
def test_the_class_of_another_protocol_is_told_at_start(line: str, below: list[str]) -> None:
    """
    R14: in MIDDLEWARE it raises when the application is built, and not for each request.
    """
    with configured(MIDDLEWARE=[line, *below]):
        with pytest.raises(TypeError) as caught:
            get_wsgi_application()
        (message,) = found()
    assert f'write "{OURS}" in MIDDLEWARE' in str(caught.value)
    assert f'"{OURS}"' in str(message.hint)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(None, Policy(), id="nothing"),
        pytest.param(PROVEN, Policy(trusted_peers=PEERS), id="a mapping"),
        pytest.param(Policy(expose=True), Policy(expose=True), id="a policy"),
    ],
)
def test_the_policy_of_the_settings_may_be_had(given: Any, expected: Policy) -> None:
    """
    The middlewares around the application take the policy of the settings.
    """
    with configured(IDLANYARD=given):
        policy = policy_from_settings()
        for module in (asgi, wsgi):
            module.SessionContextMiddleware(lambda *anything: None, policy)
    assert policy == expected


def test_settings_that_describe_no_policy_are_answered() -> None:
    """
    R14: asked for a policy, settings that describe none are answered by what to write.
    """
    with configured(IDLANYARD=["10.0.0.1"]):
        with pytest.raises(ImproperlyConfigured, match=r"write IDLANYARD = \{'TRUSTED_PEERS'"):
            policy_from_settings()
        with pytest.raises(TypeError, match=r"policy is a Policy, not list: write Policy"):
            wsgi.SessionContextMiddleware(lambda *anything: [], settings.IDLANYARD)


def test_a_cache_below_us_stores_nothing_of_ours() -> None:
    """
    R9: Django's cache for the whole site lets responses be stored by others as well, so that
    they carry no ID; and stored is what was there before our own headers.
    """
    stores = [OURS, STORES, "django.middleware.cache.FetchFromCacheMiddleware"]
    with configured(MIDDLEWARE=stores, ROOT_URLCONF=Routes):
        answers = [Client().get("/slash/", headers={"X-Session-ID": s}) for s in ("s1", "s2")]
    for answer in answers:
        assert "max-age" in answer.headers["Cache-Control"]
        assert "X-Session-ID" not in answer.headers
