"""
Carriers without a module of ours: what the pages on gRPC, urllib3 and other servers
say to write, tried against real servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import urllib3
from aiohttp import ClientSession, web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from idlanyard import (
    MissingID,
    Provenance,
    extract,
    get_session_context,
    get_user_id,
    identify,
    inject,
    require,
    restore,
    session_context,
)
from integrations.outgoing import ALL, NONE, full, listening

DOCS = Path(__file__).parents[2] / "docs"
USERS = [f"user-{number}" for number in range(12)]


def page(name: str, block: int) -> dict[str, Any]:
    """
    Return what one block of a page defines.
    """
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / name).read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    defined: dict[str, Any] = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(blocks[block], defined)
    return defined


def answer(request: bytes, context: Any) -> bytes:
    """
    Answer with the metadata that came and the IDs that are bound.
    """
    keys = [key for key, _ in context.invocation_metadata() if key.startswith("x-")]
    with restore(dict(context.invocation_metadata())):
        by_dict = get_session_context().as_dict()
    bound = get_session_context()
    how = bound.provenance("user_id")
    identify(user_id="job")
    return json.dumps([keys, bound.as_dict(), how and how.value, by_dict]).encode()


@contextmanager
def called(*interceptors: Any) -> Iterator[Any]:
    """
    Call a server that binds as the page says, over the interceptors given.
    """
    receiving = page("grpc.md", 1)["Receiving"]()
    with futures.ThreadPoolExecutor(1) as pool:
        methods = {"b": grpc.unary_unary_rpc_method_handler(answer)}
        noting = grpc.method_handlers_generic_handler("a", methods)
        server = grpc.server(pool, handlers=[noting], interceptors=[receiving])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield grpc.intercept_channel(channel, *interceptors).unary_unary("/a/b")
        finally:
            server.stop(None).wait()


def test_grpc_takes_what_inject_writes_in_lower_case() -> None:
    """
    Metadata by hand reaches the server, whose thread keeps nothing for the next call.
    """
    metadata: dict[str, str] = {}
    with full():
        inject(metadata, lower=True)
    ids = {"session_id": "s1", "user_id": "u1", "tenant_id": "t1"}
    with called() as call:
        answer = json.loads(call(b"", metadata=list(metadata.items())))
        assert answer == [[*metadata], ids, "client", ids]
        assert json.loads(call(b"")) == [[], {}, None, {}]


def test_grpc_refuses_names_in_upper_case() -> None:
    """
    Why lower=True is there.
    """
    metadata: dict[str, str] = {}
    with full():
        inject(metadata)
    with called() as call, pytest.raises(grpc.RpcError, match="metadata"):
        call(b"", metadata=list(metadata.items()))


def test_grpc_interceptors_carry_each_callers_ids() -> None:
    """
    R12, S15: one channel serves many users, and metadata of the caller's wins.
    """
    with called(page("grpc.md", 1)["Sending"]()) as call:

        def ask(user: str) -> Any:
            with session_context(user_id=user):
                return json.loads(call(b""))[1]

        with futures.ThreadPoolExecutor(len(USERS)) as pool:
            assert list(pool.map(ask, USERS)) == [{"user_id": user} for user in USERS]
        with session_context("s1", user_id="u1"):
            own = json.loads(call(b"", metadata=[("x-user-id", "own")]))
        assert own[1] == {"session_id": "s1", "user_id": "own"}


def test_grpc_metadata_proves_nothing() -> None:
    """
    R13: a key that a client sends twice is nobody, and one that it sends once is its own word.
    """
    with called() as call:
        for word in ("peer", "signed", "code"):
            twice = [("x-user-id", "admin"), ("x-user-id", word)]
            assert json.loads(call(b"", metadata=twice))[1:3] == [{}, None]
        assert json.loads(call(b"", metadata=[("user_id", "admin")]))[2] == "client"


def test_a_redirect_of_urllib3_takes_headers_along_and_the_page_says_what_to_write() -> None:
    """
    Each hop by itself, the IDs never reach who is not listed, and come back.
    """
    get = page("urllib3.md", 1)["get"]
    with listening() as here, listening() as there, urllib3.PoolManager() as pool, full():
        url = f"{here.origin}/to?{there.origin}/to?{here.origin}/end"
        assert get(pool, url, to=[here.origin], headers={"X-Other": "stays"}).status == 200
        assert (here.ids(), there.ids()) == ([ALL, ALL], [NONE])
        assert there.seen[0].all("X-Other") == ["stays"]
        endless = f"{here.origin}/to?/to"
        with pytest.raises(urllib3.exceptions.MaxRetryError):
            get(pool, endless, to=[here.origin], hops=1)


def test_a_redirect_of_urllib_leaves_the_ids_behind() -> None:
    """
    The handler of the page decides for each hop, and the caller's wins.
    """
    carrying = page("urllib3.md", 2)["Carrying"]
    with listening() as here, listening() as there, full():
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), carrying(to=[here.origin])
        )
        opener.open(f"{here.origin}/to?{there.origin}/to?{here.origin}/end").close()
        own = urllib.request.Request(f"{here.origin}/", headers={"X-User-ID": "own"})
        opener.open(own).close()
    assert (here.ids(), there.ids()) == ([ALL, ALL, ["s1", "own", "t1"]], [NONE])


SPOOF = {"X-Session-ID": "chat-42", "X-User-ID": "admin", "X-Tenant-ID": "acme"}


async def look(request: web.Request) -> web.Response:
    """
    Return the IDs that are bound before a login, and after.
    """
    before = get_session_context()
    raw = [name for name in SPOOF if name in request.headers]
    with pytest.raises(MissingID):
        require("user_id")
    identify(user_id=request.query.get("login"))
    await asyncio.sleep(0)
    user = await asyncio.create_task(asyncio.to_thread(get_user_id))
    how = before.provenance("session_id")
    return web.json_response([before.as_dict(), how and how.value, user, raw])


async def stream(request: web.Request) -> web.StreamResponse:
    """
    Answer in two steps, of which the first sends the headers.
    """
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write((get_session_context().session_id or "").encode())
    return response


async def forbidden(request: web.Request) -> web.Response:
    """
    Refuse as aiohttp does.
    """
    raise web.HTTPForbidden


async def fail(request: web.Request) -> web.Response:
    """
    Fail.
    """
    raise RuntimeError


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """
    Serve an application of aiohttp on a free port meanwhile.
    """
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def aiohttp_app() -> web.Application:
    """
    Return the page's application with more routes.
    """
    app: web.Application = page("other_servers.md", 1)["application"]()
    for name, handler in {"look": look, "stream": stream, "no": forbidden, "fail": fail}.items():
        app.router.add_get(f"/{name}", handler)
    return app


def test_on_aiohttps_server_a_client_names_no_user() -> None:
    """
    The session is the client's word, user and tenant are not, and tasks hear of both.
    """

    app = aiohttp_app()

    async def run() -> None:
        async with serving(app) as url, ClientSession() as client:
            async with client.get(f"{url}/look?login=bob", headers=SPOOF) as response:
                assert await response.json() == [
                    {"session_id": "chat-42"},
                    "client",
                    "bob",
                    ["X-Session-ID"],
                ]
            async with client.get(f"{url}/look") as response:
                ids, how, user, _ = await response.json()
                assert [ids["session_id"]] == response.headers.getall("X-Session-ID")
                assert (how, user, len(ids)) == ("code", None, 1)

    asyncio.run(run())


def test_on_aiohttps_server_every_answer_has_the_echo() -> None:
    """
    Streams, refusals, 404 and 500 say the session; a bad one is replaced, never 500.
    """

    app = aiohttp_app()

    async def run() -> None:
        async with serving(app) as url, ClientSession() as client:
            for path, status in (("stream", 200), ("no", 403), ("none", 404), ("fail", 500)):
                async with client.get(f"{url}/{path}", headers=SPOOF) as response:
                    assert response.status == status
                    assert response.headers.getall("X-Session-ID") == ["chat-42"]
            for bad in ("a b", "x" * 300, "a,b", ""):
                async with client.get(f"{url}/look", headers={"X-Session-ID": bad}) as response:
                    assert (response.status, (await response.json())[1]) == (200, "code")

    asyncio.run(run())


def test_on_aiohttps_server_requests_at_once_keep_apart() -> None:
    """
    S28: many requests on few connections, each with its own session and login.
    """

    app = aiohttp_app()

    async def run() -> None:
        async with serving(app) as url, ClientSession() as client:

            async def ask(user: str) -> Any:
                headers = {"X-Session-ID": f"of-{user}"}
                async with client.get(f"{url}/look?login={user}", headers=headers) as response:
                    return await response.json()

            answers = await asyncio.gather(*map(ask, USERS))
        assert [(ids, user) for ids, _, user, _ in answers] == [
            ({"session_id": f"of-{user}"}, user) for user in USERS
        ]

    asyncio.run(run())


def test_on_tornado_a_client_names_no_user() -> None:
    """
    The page's handler, with two requests on one connection.
    """
    base: Any = page("other_servers.md", 2)["Handler"]

    class Look(base):  # type: ignore[misc]
        async def get(self) -> None:
            before = get_session_context().as_dict()
            identify(user_id=self.get_argument("login", None))
            await asyncio.sleep(0)
            raw = [name for name in SPOOF if name in self.request.headers]
            self.write(json.dumps([before, get_user_id(), raw]))

    async def run() -> None:
        sock, port = bind_unused_port()
        server = HTTPServer(Application([("/", Look)]))
        server.add_socket(sock)
        url = f"http://127.0.0.1:{port}/"
        async with ClientSession() as client:
            async with client.get(f"{url}?login=bob", headers=SPOOF) as response:
                assert response.headers["X-Session-ID"] == "chat-42"
                assert json.loads(await response.text()) == [
                    {"session_id": "chat-42"},
                    "bob",
                    ["X-Session-ID"],
                ]
            async with client.get(url) as response:
                ids, user, _ = json.loads(await response.text())
                assert (user, [*ids]) == (None, ["session_id"])
                assert ids["session_id"] == response.headers["X-Session-ID"] != "chat-42"
        server.stop()
        await server.close_all_connections()

    asyncio.run(run())


def test_the_line_to_avoid_believes_a_client_at_most() -> None:
    """
    Restoring a request's headers all the same gives the client's word, unproven.
    """
    found = extract(SPOOF)
    assert (found.user_id, found.provenance("user_id")) == ("admin", Provenance.CLIENT)
