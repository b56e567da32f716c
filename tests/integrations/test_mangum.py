"""
AWS Lambda, through Mangum: the tenant of the invocation, and what an authorizer says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from mangum import Mangum

from idlanyard import Policy, PolicyError, Scope, get_session_context, tenant_spec, user_spec
from idlanyard.asgi import SessionContextMiddleware

TENANT = Scope("aws.context.tenant_id")
AUTHORIZER = Scope("aws.event.requestContext.authorizer.principalId")


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """
    An event loop of the main thread, which Mangum runs requests on.
    """
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield
        asyncio.set_event_loop(None)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer with the IDs of the request, and with the header of the tenant.
    """
    context = get_session_context()
    shown = dict(scope["headers"]).get(b"x-tenant-id", b"").decode()
    answer = {"tenant": context.tenant_id, "user": context.user_id, "shown": shown}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def event_of(headers: dict[str, str]) -> dict[str, Any]:
    """
    Return what a REST API of API Gateway passes to a function, behind an authorizer.
    """
    return {
        "resource": "/{proxy+}",
        "path": "/orders",
        "httpMethod": "GET",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {
            "identity": {"sourceIp": "203.0.113.9"},
            "authorizer": {"principalId": "alice"},
        },
        "body": None,
        "isBase64Encoded": False,
    }


def ask(context: Any, headers: dict[str, str], *, required: bool = False) -> Any:
    """
    Return the answer of the function to one request: the IDs, or the status of a refusal.
    """
    policy = Policy(
        tenant=tenant_spec(sources=[TENANT], required=required),
        user=user_spec(sources=[AUTHORIZER]),
    )
    handler = Mangum(SessionContextMiddleware(app, policy), lifespan="off")
    answer = handler(event_of(headers), context)
    return json.loads(answer["body"]) if answer["statusCode"] == 200 else answer["statusCode"]


ACME = {"tenant": "acme", "user": "alice", "shown": "acme"}


@pytest.mark.parametrize("headers", [{}, {"X-Tenant-ID": "evil"}], ids=["alone", "a header"])
def test_the_tenant_of_the_invocation_is_the_tenant(headers: dict[str, str]) -> None:
    """
    S1: a header of the client is replaced by what the function was invoked with.
    """
    assert ask(SimpleNamespace(tenant_id="acme"), headers) == ACME


@pytest.mark.parametrize(
    "context",
    [SimpleNamespace(tenant_id=None), SimpleNamespace()],
    ids=["without isolation", "an older runtime"],
)
def test_without_a_tenant_there_is_none(context: Any) -> None:
    """
    S1: a function without tenant isolation has no tenant, whatever a header says, and answers
    401 where one is required.
    """
    nobody = {"tenant": None, "user": "alice", "shown": ""}
    assert ask(context, {"X-Tenant-ID": "evil"}) == nobody
    assert ask(context, {"X-Tenant-ID": "evil"}, required=True) == 401


def test_what_the_invoker_attaches_is_no_proof() -> None:
    """
    S1: the client context is written by whoever invokes the function.
    """
    with pytest.raises(PolicyError, match="holds what a client writes"):
        Scope("aws.context.client_context.custom.tenant_id")
