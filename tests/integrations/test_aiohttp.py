"""
aiohttp: the contract, and what middlewares beside ours see.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, web

from idlanyard import session_context
from idlanyard.integrations.aiohttp import propagate
from integrations.outgoing import (
    ALL,
    DEADLINE,
    NONE,
    Async,
    Client,
    OutgoingContract,
    full,
    listening,
)


async def opened(
    to: Sequence[str], *, proxy: str | None = None, authority: str | None = None
) -> ClientSession:
    """
    Return a session that has the IDs for some origins.
    """
    middlewares = [propagate(to=to)]
    tls = ssl.create_default_context(cafile=authority) if authority else True
    return ClientSession(
        middlewares=middlewares,
        proxy=proxy,
        connector=aiohttp.TCPConnector(ssl=tls),
        timeout=aiohttp.ClientTimeout(DEADLINE),
    )


class TestAiohttp(OutgoingContract):
    """
    The contract on a ``ClientSession``.
    """

    @contextmanager
    def open(
        self, to: Sequence[str], *, proxy: str | None = None, authority: str | None = None
    ) -> Iterator[Client]:
        with asyncio.Runner() as runner:
            session = runner.run(opened(to, proxy=proxy, authority=authority))

            async def get(url: str, headers: Any) -> None:
                async with session.get(url, headers=headers) as response:
                    await response.read()

            client = Async(runner, get)
            try:
                yield client
            finally:
                client.run(session.close)

    def test_the_callers_header_does_not_follow_a_redirect_elsewhere(self) -> None:
        """
        S15, the exception: aiohttp tells no middleware that a request follows another, so what
        the caller wrote goes where aiohttp takes it, as the page says; what we wrote does not.
        """
        with listening() as here, listening() as there, self.open([here.origin]) as client, full():
            client.get(f"{here.origin}/to?{there.origin}/", {"X-User-ID": "own"})
        assert (here.ids(), there.ids()) == ([["s1", "own", "t1"]], [["own"]])


def test_a_middleware_that_sends_twice() -> None:
    """
    R12: each sending of one request has the IDs of its own moment, each once.
    """

    async def twice(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        with session_context(user_id="a"):
            (await handler(request)).release()
        with session_context(user_id="b"):
            (await handler(request)).release()
        return await handler(request)

    async def ask(origin: str) -> None:
        async with (
            ClientSession(middlewares=[twice, propagate(to=[origin])]) as session,
            session.get(f"{origin}/", headers={"X-Tenant-ID": "own"}),
        ):
            pass

    with listening() as here:
        asyncio.run(ask(here.origin))
    assert here.ids() == [["a", "own"], ["b", "own"], ["own"]]


def test_a_middleware_that_sends_elsewhere() -> None:
    """
    S14: a request that a middleware turns to another origin loses what we wrote.
    """
    with listening() as here, listening() as there:

        async def fail_over(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            (await handler(request)).release()
            request.url = request.url.with_port(there.port)
            return await handler(request)

        async def ask() -> None:
            middlewares = [fail_over, propagate(to=[here.origin])]
            async with (
                ClientSession(middlewares=middlewares) as session,
                session.get(f"{here.origin}/"),
            ):
                pass

        with full():
            asyncio.run(ask())
    assert (here.ids(), there.ids()) == ([ALL], [NONE])


def test_two_lists_in_one_session() -> None:
    """
    R12: what one middleware wrote is not taken back by another.
    """

    async def ask(*origins: str) -> None:
        middlewares = [propagate(to=[origin]) for origin in origins]
        async with ClientSession(middlewares=middlewares) as session:
            for origin in origins:
                async with session.get(f"{origin}/") as response:
                    assert response.request_info.headers["X-User-ID"] == "u1"

    with listening() as here, listening() as there, full():
        asyncio.run(ask(here.origin, there.origin))
    assert (here.ids(), there.ids()) == ([ALL], [ALL])


def test_authentication_sends_twice() -> None:
    """
    R12: aiohttp's own middleware for digests sends a request twice, each with each ID once.
    """

    async def ask(origin: str) -> int:
        digest = aiohttp.DigestAuthMiddleware("me", "word")
        async with (
            ClientSession(middlewares=[digest, propagate(to=[origin])]) as session,
            session.get(f"{origin}/login") as response,
        ):
            return response.status

    with listening() as here, full():
        assert asyncio.run(ask(here.origin)) == 200
    assert here.ids() == [ALL, ALL]


@asynccontextmanager
async def sockets(seen: list[str | None]) -> AsyncIterator[int]:
    """
    Serve WebSockets meanwhile; the port is yielded.
    """

    async def handler(request: web.Request) -> web.WebSocketResponse:
        seen.append(request.headers.get("X-User-ID"))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("listed", "user"),
    [pytest.param("ws", "u1", id="its own"), pytest.param("http", None, id="http for ws")],
)
def test_a_websocket_is_listed_by_its_own_scheme(listed: str, user: str | None) -> None:
    """
    S13: the handshake carries the IDs where ``ws://`` is on the list.
    """
    seen: list[str | None] = []

    async def connect() -> None:
        async with sockets(seen) as port:
            to = [f"{listed}://localhost:{port}"]
            async with (
                ClientSession(middlewares=[propagate(to=to)]) as session,
                session.ws_connect(f"ws://localhost:{port}/") as socket,
            ):
                await socket.receive()

    with full():
        asyncio.run(connect())
    assert seen == [user]
