"""
How the session of an input is known, which ``require`` asks for.
"""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from werkzeug.test import Client

import idlanyard.asgi
import idlanyard.wsgi
from idlanyard import EVERYONE, Policy, Provenance, get_session_context, session_spec
from idlanyard.registry import SessionRecord, SessionRegistry
from idlanyard.registry.asgi import asgi_app
from idlanyard.registry.wsgi import wsgi_app

POLICIES = [
    pytest.param(Policy(), id="default"),
    pytest.param(Policy(session=session_spec(charset="visible")), id="visible"),
    pytest.param(None, id="no middleware"),
]


def told(record: SessionRecord, body: dict[str, Any]) -> dict[str, Any]:
    """
    Return what is bound, and how it is known.
    """
    context = get_session_context()
    return {"id": context.session_id, "how": context.provenance("session_id")}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("authorize", "how"),
    [
        pytest.param(lambda request: True, Provenance.CODE, id="authorize"),
        pytest.param(EVERYONE, Provenance.CLIENT, id="EVERYONE"),
    ],
)
def test_only_authorize_proves_a_session(authorize: Any, how: str, policy: Policy | None) -> None:
    """
    A session that only the path names is the client's word; one that authorize allowed is code's.
    """
    registry = SessionRegistry.open("memory://")
    registry.create("s1")
    options = {"on_input": told, "authorize": authorize}
    asgi: Any = asgi_app(registry, **options)
    wsgi: Any = wsgi_app(registry, **options)
    if policy is not None:
        asgi = idlanyard.asgi.SessionContextMiddleware(asgi, policy)
        wsgi = idlanyard.wsgi.SessionContextMiddleware(wsgi, policy)
    expected = {"id": "s1", "how": how}
    assert TestClient(asgi).post("/session/s1/input", json={}).json() == expected
    assert Client(wsgi).post("/session/s1/input", json={}).json == expected
    assert get_session_context().session_id is None
