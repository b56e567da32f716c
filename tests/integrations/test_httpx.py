"""
httpx and httpx2, sync and async: the contract, and what a request remembers.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any, ClassVar

import httpx
import httpx2
import pytest

from idlanyard import IDLanyardError, Policy, session_context, without
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.httpx import install
from integrations.outgoing import (
    ALL,
    DEADLINE,
    NONE,
    Async,
    Client,
    OutgoingContract,
    Sync,
    full,
    listening,
)


def options(module: Any, proxy: str | None, authority: str | None) -> dict[str, Any]:
    """
    Return what a client of the tests is made with.
    """
    # Reading every authority of this machine for each client would take most of the time.
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        verify.load_verify_locations(authority)
    timeout = module.Timeout(DEADLINE)
    return {
        "proxy": proxy,
        "verify": verify,
        "timeout": timeout,
        "follow_redirects": True,
        "trust_env": False,
    }


class SyncHttpx(OutgoingContract):
    """
    The contract on a ``Client``.
    """

    module: ClassVar[Any]

    @contextmanager
    def open(
        self, to: Sequence[str], *, proxy: str | None = None, authority: str | None = None
    ) -> Iterator[Client]:
        with self.module.Client(**options(self.module, proxy, authority)) as client:
            undo = install(client, to=to)
            yield Sync(lambda url, headers=None: client.get(url, headers=headers))
            undo()
            assert client.event_hooks["request"] == []


class AsyncHttpx(OutgoingContract):
    """
    The contract on an ``AsyncClient``.
    """

    module: ClassVar[Any]

    @contextmanager
    def open(
        self, to: Sequence[str], *, proxy: str | None = None, authority: str | None = None
    ) -> Iterator[Client]:
        client = self.module.AsyncClient(**options(self.module, proxy, authority))
        with asyncio.Runner() as runner:
            asynchronous = Async(runner, lambda url, headers: client.get(url, headers=headers))
            try:
                install(client, to=to)
                yield asynchronous
            finally:
                asynchronous.run(client.aclose)


class TestHttpx(SyncHttpx):
    """
    httpx, blocking.
    """

    module: ClassVar[Any] = httpx


class TestHttpx2(SyncHttpx):
    """
    httpx2, blocking.
    """

    module: ClassVar[Any] = httpx2


class TestAsyncHttpx(AsyncHttpx):
    """
    httpx, in an event loop.
    """

    module: ClassVar[Any] = httpx


class TestAsyncHttpx2(AsyncHttpx):
    """
    httpx2, in an event loop.
    """

    module: ClassVar[Any] = httpx2


both = pytest.mark.parametrize("module", [httpx, httpx2])


@both
def test_one_request_under_two_users(module: Any) -> None:
    """
    R12: a ``Request`` that is sent again has the IDs of the second sending, and then none.
    """
    with listening() as here, module.Client() as client:
        install(client, to=[here.origin])
        request = client.build_request("GET", f"{here.origin}/", headers={"X-Tenant-ID": "own"})
        with session_context("s1", user_id="a"):
            client.send(request)
        with session_context(user_id="b"):
            client.send(request)
        client.send(request)
    assert here.ids() == [["s1", "a", "own"], ["b", "own"], ["own"]]


@both
def test_requests_that_share_their_extensions_share_no_mark(module: Any) -> None:
    """
    R12: what one request remembers is not taken for another's.
    """
    shared: dict[str, Any] = {"timeout": module.Timeout(DEADLINE).as_dict()}
    with listening() as here, listening() as there, module.Client() as client:
        install(client, to=[here.origin])
        first = client.build_request("GET", f"{here.origin}/")
        second = client.build_request("GET", f"{there.origin}/", headers={"X-User-ID": "own"})
        first.extensions = second.extensions = shared
        with full():
            client.send(first)
            client.send(second)
    assert list(shared) == ["timeout"]
    assert (here.ids(), there.ids()) == ([ALL], [["own"]])


@both
def test_what_the_caller_puts_in_our_place_is_the_callers(module: Any) -> None:
    """
    S15: a header that was ours and has another value now wins, and stays.
    """
    with listening() as here, module.Client() as client:
        install(client, to=[here.origin])
        request = client.build_request("GET", f"{here.origin}/")
        with session_context(user_id="a"):
            client.send(request)
            request.headers["X-User-ID"] = "own"
            client.send(request)
    assert here.ids() == [["a"], ["own"]]


@both
def test_hooks_of_the_callers_run_before_ours(module: Any) -> None:
    """
    S15: a header that a hook writes is the caller's, and the hook stays when ours goes.
    """

    def hook(request: Any) -> None:
        request.headers.setdefault("X-User-ID", "hooked")

    with listening() as here, module.Client(event_hooks={"request": [hook]}) as client:
        undo = install(client, to=[here.origin])
        with full():
            client.get(f"{here.origin}/")
            undo()
            client.get(f"{here.origin}/")
        assert client.event_hooks["request"] == [hook]
    assert here.ids() == [["s1", "hooked", "t1"], ["hooked"]]


@both
def test_an_authentication_flow_sends_twice(module: Any) -> None:
    """
    R12: both sendings of one request have each ID once.
    """
    with listening() as here, module.Client(auth=module.DigestAuth("me", "word")) as client:
        install(client, to=[here.origin])
        with full():
            assert client.get(f"{here.origin}/login").status_code == 200
    assert here.ids() == [ALL, ALL]


@both
def test_an_authentication_flow_decides_for_each_request(module: Any) -> None:
    """
    R12: the token is fetched without the IDs where its server is not on the list.
    """
    with listening() as here, listening() as tokens, module.Client() as client:

        class Fetching(module.Auth):  # type: ignore[misc]
            def auth_flow(self, request: Any) -> Iterator[Any]:
                yield module.Request("GET", f"{tokens.origin}/", headers=request.headers)
                yield request

        install(client, to=[here.origin])
        with full():
            client.get(f"{here.origin}/", auth=Fetching())
    assert (here.ids(), tokens.ids()) == ([ALL], [NONE])


@both
def test_a_redirect_that_is_followed_by_hand(module: Any) -> None:
    """
    S14: ``next_request`` is a hop as any other.
    """
    with listening() as here, listening() as there, module.Client() as client:
        install(client, to=[here.origin])
        with full():
            response = client.get(f"{here.origin}/to?{there.origin}/")
            client.send(response.next_request)
    assert (here.ids(), there.ids()) == ([ALL], [NONE])


@both
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_install_and_undo_can_be_repeated(module: ModuleType, kind: str) -> None:
    """
    R11: the same origins once more do nothing, others are refused, and so is undoing less.
    """
    client = getattr(module, kind)()
    undo = install(client, to=["https://a.example"])
    install(client, to=["https://a.example"])
    assert len(client.event_hooks["request"]) == 1
    with pytest.raises(IDLanyardError, match="install once"):
        install(client, to=["https://b.example"])
    undo()
    undo()
    assert client.event_hooks["request"] == []
    install(client, to=["https://b.example"])
    undo()
    assert len(client.event_hooks["request"]) == 1


class Opening:
    """
    An application whose first request starts the task that sends for everybody.
    """

    def __init__(
        self, module: Any, to: str, block: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.module, self.to, self.block = module, to, block
        self.queue: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self.worker: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.worker is None:
            with self.block():
                self.worker = asyncio.create_task(self.work())
        done = asyncio.get_running_loop().create_future()
        await self.queue.put(done)
        await done

    async def work(self) -> None:
        async with self.module.AsyncClient(trust_env=False) as client:
            install(client, to=[self.to])
            while True:
                done = await self.queue.get()
                await client.get(self.to)
                done.set_result(None)


@both
@pytest.mark.parametrize(
    ("block", "told", "sent"),
    [
        pytest.param(nullcontext, 1, [["alice"], ["alice"]], id="in the request"),
        pytest.param(without, 0, [NONE, NONE], id="without"),
    ],
)
def test_a_task_that_sends_for_everybody(
    module: Any, block: Any, told: int, sent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Opened in a request it is told of, once; opened in without() it is nobody's.
    """

    async def run(to: str) -> None:
        app = Opening(module, to, block)
        served = SessionContextMiddleware(app, Policy(session=None, trusted_peers=["127.0.0.1"]))
        for user in (b"alice", b"bob"):
            scope = {"type": "http", "path": "/", "client": ("127.0.0.1", 1)}
            await served(scope | {"headers": [(b"x-user-id", user)]}, None, None)
        assert app.worker is not None
        app.worker.cancel()
        await asyncio.gather(app.worker, return_exceptions=True)

    with listening() as here, caplog.at_level(logging.WARNING, "idlanyard"):
        asyncio.run(run(here.origin))
    assert here.ids() == sent
    said = [record.getMessage() for record in caplog.records]
    assert ["with without():" in message for message in said] == [True] * told


@pytest.mark.parametrize("client", [object(), httpx, {"request": []}])
def test_something_else_is_refused(client: Any) -> None:
    """
    R14: what is no client of httpx raises where it is handed over, and is told what to write.
    """
    with pytest.raises(TypeError, match=r"install takes the client of httpx.* write inject\("):
        install(client, to=[])


def test_neither_is_imported() -> None:
    """
    Section 4: importing the integration loads neither httpx nor httpx2.
    """
    code = (
        "import sys, idlanyard.integrations.httpx; "
        "raise SystemExit(int('httpx' in sys.modules or 'httpx2' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
