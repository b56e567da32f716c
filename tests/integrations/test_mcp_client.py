"""
One MCP connection that many callers share: each call arrives as its own caller's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from idlanyard import Provenance, session_context, without
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import RequestIDs, bound, make_request_ids
from idlanyard.integrations.httpx import install
from integrations.test_mcp import DEADLINE, MODES, Tools, kinds, modes, serving

USERS = ("alice", "bob", "carol", "dave")


@asynccontextmanager
async def connected(url: str, era: str) -> AsyncIterator[Client]:
    """
    Open a connection whose requests carry the IDs.
    """
    async with httpx2.AsyncClient(timeout=DEADLINE) as http:
        install(http, to=[url.removesuffix("/mcp")])
        async with Client(streamable_http_client(url, http_client=http), mode=era) as client:
            yield client


async def user_of(client: Client, tool: str, user: str | None) -> Any:
    """
    Return whom the server takes a call for.
    """
    with session_context(user_id=user):
        result = await client.call_tool(tool, {})
    assert result.structured_content is not None
    return result.structured_content["user"]


@modes
@kinds
def test_each_call_over_a_shared_connection_is_its_callers(mode: str, kind: str) -> None:
    """
    Opened for alice, a connection of mcp 2 carries bob's call as bob's, and nobody's.
    """
    era, options = MODES[mode]

    async def turns(url: str) -> None:
        with session_context(user_id="alice"):
            opened = connected(url, era)
            client = await opened.__aenter__()
        try:
            for user in (*USERS, None):
                assert await user_of(client, f"see_{kind}", user) == user
            calls = [user_of(client, f"see_{kind}", user) for user in USERS * 3]
            assert await asyncio.gather(*calls) == [*USERS * 3]
        finally:
            await opened.__aexit__(None, None, None)

    with serving(Tools().app(**options)) as url:
        asyncio.run(turns(url))


@pytest.mark.parametrize("opened_in", ["without", "request"])
def test_a_connection_that_was_opened_in_without_is_nobodys(
    opened_in: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A message that the connection sends by itself after the request is over has no IDs.
    """

    async def run(url: str, request_ids: RequestIDs) -> None:
        bound.set(request_ids)
        opened = connected(url, "legacy")
        if opened_in == "without":
            with without():
                await opened.__aenter__()
        else:
            await opened.__aenter__()
        request_ids.open = False
        with without():
            await opened.__aexit__(None, None, None)

    request_ids = make_request_ids(DEFAULT_POLICY, {"user_id": ("alice", Provenance.PEER)})
    with serving(Tools().app()) as url, caplog.at_level(logging.WARNING, "idlanyard"):
        asyncio.run(run(url, request_ids))
    said = [one.getMessage() for one in caplog.records if "that is over" in one.getMessage()]
    assert len(said) == (opened_in == "request")
