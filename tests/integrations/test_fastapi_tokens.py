"""
FastAPI's security dependencies beside an ID that is read out of their header.
"""

from __future__ import annotations

from typing import Any

import fastapi
import pytest
from fastapi import Depends, FastAPI
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.testclient import TestClient

from idlanyard import Header, Policy, PolicyError, get_user_id, session_spec, user_spec
from idlanyard.integrations.fastapi import install


def subject(line: str) -> str:
    """
    Stand for the verification of a token: return its subject.
    """
    return line.removeprefix("Bearer ").partition(".")[0]


@pytest.mark.parametrize(
    ("header", "security", "value"),
    [
        pytest.param("Authorization", HTTPBearer(), "Bearer alice.sig", id="bearer"),
        pytest.param("X-API-Key", APIKeyHeader(name="X-API-Key"), "alice.key", id="key"),
    ],
)
@pytest.mark.parametrize("accept", ["anyone", "proven"])
def test_what_is_parsed_stays_for_the_security_dependency(
    header: str, security: Any, value: str, accept: Any
) -> None:
    """
    Reading a user out of a credential takes it from no dependency, proven or not.
    """
    app = FastAPI()
    source = Header(header, parse=subject)
    install(app, Policy(user=user_spec(accept=accept, sources=[source])))

    @app.get("/me")
    def me(credential: Any = Depends(security)) -> list[Any]:
        return [getattr(credential, "credentials", credential), get_user_id()]

    response = TestClient(app).get("/me", headers={header: value})
    assert response.status_code == 200
    user = "alice" if accept == "anyone" else None
    assert response.json() == [value.removeprefix("Bearer "), user]


@pytest.mark.parametrize("source", [fastapi.Cookie("sid"), fastapi.Header("X-A"), fastapi.Query()])
def test_a_parameter_of_fastapi_is_told_from_a_source(source: Any) -> None:
    """
    FastAPI's Cookie, Header and Query are refused by their module, and ours are named.
    """
    with pytest.raises(PolicyError, match=r"\(fastapi\.params\): .* of idlanyard"):
        session_spec(sources=[source])
