"""
Options of a policy that are given to what takes the policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

import idlanyard
from idlanyard import EVERYONE, asgi, wsgi
from idlanyard.integrations import fastapi, flask, starlette

SECRET = "s" * 32
NAMES = {name: getattr(idlanyard, name) for name in idlanyard.__all__}

TAKERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "asgi": (
        "SessionContextMiddleware(app, {})",
        lambda *policy, **options: asgi.SessionContextMiddleware(Starlette(), *policy, **options),
    ),
    "wsgi": (
        "SessionContextMiddleware(app, {})",
        lambda *policy, **options: wsgi.SessionContextMiddleware(
            Flask(__name__).wsgi_app, *policy, **options
        ),
    ),
    "starlette": (
        "install(app, {})",
        lambda *policy, **options: starlette.install(Starlette(), *policy, **options),
    ),
    "fastapi": (
        "install(app, {})",
        lambda *policy, **options: fastapi.install(FastAPI(), *policy, **options),
    ),
    "flask": (
        "IDLanyard(app, {})",
        lambda *policy, **options: flask.IDLanyard(Flask(__name__), *policy, **options),
    ),
}
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a list": ({"trusted_peers": ["10.0.0.5"]}, "Policy(trusted_peers=['10.0.0.5'])"),
    "several": (
        {"exclude": ("/health",), "expose": True},
        "Policy(exclude=('/health',), expose=True)",
    ),
    "a constant": ({"trusted_peers": EVERYONE}, "Policy(trusted_peers=EVERYONE)"),
    "left out": ({"user": None}, "Policy(user=None)"),
    "misspelt": ({"trusted_proxies": ["10.0.0.5"]}, "Policy(trusted_peers=['10.0.0.5'])"),
    "of one ID": (
        {"header": "X-Request-ID"},
        "Policy(session=session_spec(header='X-Request-ID'))",
    ),
    "of the user": ({"user_required": True}, "Policy(user=user_spec(required=True))"),
    "in capitals": ({"TRUSTED_PEERS": ["10.0.0.5"]}, "Policy(trusted_peers=['10.0.0.5'])"),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_policy_is_said(taker: str, name: str) -> None:
    """
    An option given to what takes the policy raises, and what the message says
    to write is accepted as it stands.
    """
    call, take = TAKERS[taker]
    options, written = OPTIONS[name]
    with pytest.raises(TypeError) as caught:
        take(**options)
    assert str(caught.value).endswith(f": write {call.format(written)}")
    take(eval(written, dict(NAMES)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"shared_secret": ("X-Proof", SECRET)},
            r"is an option of Policy: write install\(app, Policy\(shared_secret=...\)\)",
            id="a secret",
        ),
        pytest.param(
            {"session": lambda: None},
            r"write install\(app, Policy\(session=\.\.\.\)\)",
            id="no text",
        ),
        pytest.param(
            {"quux": 1},
            r"quux is no option: write install\(app, Policy\(...\)\), which takes session, user",
            id="far off",
        ),
    ],
)
def test_what_cannot_be_written_out_has_dots(options: dict[str, Any], message: str) -> None:
    """
    No message repeats a secret.
    """
    with pytest.raises(TypeError, match=message) as caught:
        starlette.install(Starlette(), **options)
    assert SECRET not in str(caught.value)
