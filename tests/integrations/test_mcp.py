"""
The tools of an MCP server have the IDs of the request that they serve, however
many users share one MCP session. Servers and clients are real.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import runpy
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context
from mcp.server.streamable_http import EventStore

from idlanyard import Policy, get_user_id, identify, session_context, session_spec
from idlanyard.asgi import SessionContextMiddleware
from test_examples import running

EXAMPLE = Path(__file__).parents[2] / "examples" / "mcp_app.py"
DEADLINE = 30.0
TRUSTING = Policy(trusted_peers=["127.0.0.1"])
LEGACY, MODERN = "legacy", "2026-07-28"
JSON: dict[str, Any] = {"json_response": True}
STATELESS: dict[str, Any] = {"stateless_http": True}
MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "stateful": (LEGACY, {}),
    "stateful-json": (LEGACY, JSON),
    "stateless": (LEGACY, STATELESS),
    "stateless-json": (LEGACY, STATELESS | JSON),
    "modern": (MODERN, {}),
    "modern-json": (MODERN, JSON),
}
modes = pytest.mark.parametrize("mode", MODES)
kinds = pytest.mark.parametrize("kind", ["sync", "async"])


class Tools:
    """
    The example's server, with tools that tell what they see.

    ``speaker`` is whom the client speaks for: no tool looks at it. The request
    is read in the Context of the first call, as mcp 1 ran all calls in it.
    """

    def __init__(self) -> None:
        self.example = runpy.run_path(str(EXAMPLE))
        self.of_request: Callable[[Context, Any], Any] = self.example["of_request"]
        self.first: contextvars.Context | None = None
        self.threads_met = threading.Barrier(2)
        self.tasks_met = asyncio.Barrier(2)
        self.request_ended = asyncio.Event()
        self.seen_later = threading.Event()
        self.later: dict[str, Any] = {}
        tools = self.see_sync, self.see_async, self.meet_sync, self.meet_async
        for tool in (*tools, self.login, self.outlive):
            self.example["server"].add_tool(tool)

    def app(self, policy: Policy = TRUSTING, **options: Any) -> Any:
        """
        Return the example's application in another mode, or with other rules.
        """
        mcp = self.example["server"].streamable_http_app(**options)
        return SessionContextMiddleware(self.example["reachable"](mcp), policy)

    def see_sync(self, context: Context, speaker: str = "") -> dict[str, Any]:
        call = context.request_context
        assert call.request is not None
        first = self.first = self.first or contextvars.copy_context()
        lines = [v.decode() for k, v in call.request.scope["headers"] if k == b"mcp-session-id"]
        return {
            "user": first.copy().run(lambda: self.of_request(context, get_user_id)()),
            "bound": get_user_id(),
            "first": first.copy().run(get_user_id),
            "mcp": lines,
            "meta": dict(call.meta or {}),
        }

    async def see_async(self, context: Context, speaker: str = "") -> dict[str, Any]:
        async def later() -> str | None:
            await asyncio.sleep(0)
            return get_user_id()

        async def user() -> Any:
            return await self.of_request(context, later)()

        seen = self.see_sync(context)
        first = self.first.copy() if self.first else None
        return seen | {"user": await asyncio.create_task(user(), context=first)}

    def meet_sync(self, context: Context, speaker: str = "") -> dict[str, Any]:
        self.threads_met.wait(DEADLINE)
        return self.see_sync(context)

    async def meet_async(self, context: Context, speaker: str = "") -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            await self.tasks_met.wait()
        return await self.see_async(context)

    def login(self, context: Context, speaker: str = "") -> dict[str, Any]:
        self.of_request(context, identify)(user_id="carol")
        return self.see_sync(context)

    async def outlive(self, context: Context, speaker: str = "") -> None:
        async with asyncio.timeout(DEADLINE):
            await self.request_ended.wait()
        self.later = self.see_sync(context)
        self.seen_later.set()


class Speaking:
    """
    A client in one MCP session, speaking for one user after the other.
    """

    def __init__(self, client: Client, answers: list[httpx2.Response]) -> None:
        self.client = client
        self.answers = answers

    async def call(self, tool: str, speaker: str, **options: Any) -> dict[str, Any]:
        """
        Return what the tool answers when called for *speaker*.
        """
        result = await self.client.call_tool(tool, {"speaker": speaker}, **options)
        assert not result.is_error, result.content
        structured: dict[str, Any] = result.structured_content or {}
        return structured | {"result meta": result.meta}

    def lines(self, name: str, method: str = "tools/call") -> list[list[str]]:
        """
        Return the lines of a header in each answer to such a message, in order.
        """
        return [
            answer.headers.get_list(name)
            for answer in self.answers
            if json.loads(answer.request.content or "{}").get("method") == method
        ]


async def speak(request: httpx2.Request) -> None:
    """
    Set the user as a gateway does: by whom the call is; the session is opened by alice.
    """
    params = json.loads(request.content or "{}").get("params") or {}
    speaker = params.get("arguments", {}).get("speaker", "alice")
    if speaker:
        request.headers["X-User-ID"] = speaker


@asynccontextmanager
async def speaking(url: str, era: str = LEGACY, **headers: str) -> AsyncIterator[Speaking]:
    """
    Open an MCP session, and end it afterwards.
    """
    answers: list[httpx2.Response] = []

    async def keep(answer: httpx2.Response) -> None:
        answers.append(answer)

    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx2.AsyncClient(
            headers=lines, timeout=DEADLINE, event_hooks={"request": [speak], "response": [keep]}
        ) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield Speaking(client, answers)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """
    Serve *app* under uvicorn meanwhile; the address of the MCP endpoint is yielded.
    """
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", proxy_headers=False)
    server, listener = uvicorn.Server(config), config.bind_socket()
    listener.listen()
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@modes
@kinds
def test_each_call_has_the_user_of_its_own_request(mode: str, kind: str) -> None:
    """
    R1, R6: users who take turns in one MCP session are told apart, and nobody is nobody.
    """
    era, options = MODES[mode]

    async def turns(url: str) -> None:
        async with speaking(url, era) as session:
            for speaker in ("alice", "bob", "", "alice"):
                answer = await session.call(f"see_{kind}", speaker)
                assert (answer["user"], answer["first"]) == (speaker or None, "alice")
            assert session.lines("X-User-ID") == [["alice"], ["bob"], [], ["alice"]]
            shared = {line for lines in session.lines("Mcp-Session-Id") for line in lines}
            assert len(shared) == mode.startswith("stateful")

    with serving(Tools().app(**options)) as url:
        asyncio.run(turns(url))


@modes
@kinds
def test_calls_at_the_same_time_keep_apart(mode: str, kind: str) -> None:
    """
    R1: two users whose calls wait for each other in one MCP session each see themselves.
    """
    era, options = MODES[mode]

    async def together(url: str) -> None:
        async with speaking(url, era) as session:
            calls = [session.call(f"meet_{kind}", speaker) for speaker in ("alice", "bob")]
            assert [answer["user"] for answer in await asyncio.gather(*calls)] == ["alice", "bob"]

    with serving(Tools().app(**options)) as url:
        asyncio.run(together(url))


@modes
def test_a_login_in_a_tool_ends_with_its_request(mode: str) -> None:
    """
    R2, R9: identify in a tool is for that request only; the echo has it unless it has begun.
    """
    era, options = MODES[mode]

    async def log_in(url: str) -> list[list[str]]:
        async with speaking(url, era) as session:
            assert (await session.call("login", "alice"))["user"] == "carol"
            assert (await session.call("see_sync", "alice"))["user"] == "alice"
            return session.lines("X-User-ID")

    with serving(Tools().app(**options)) as url:
        begun = era == LEGACY and "json_response" not in options
        assert asyncio.run(log_in(url)) == [["alice" if begun else "carol"], ["alice"]]


@modes
def test_mcp_2_binds_the_request_of_each_call_by_itself(mode: str) -> None:
    """
    R1: what is bound in a tool is its own request's, also where the tool reads no request.
    """
    era, options = MODES[mode]

    async def turns(url: str) -> None:
        async with speaking(url, era) as session:
            for speaker in ("alice", "bob", ""):
                for tool in ("see_sync", "see_async"):
                    assert (await session.call(tool, speaker))["bound"] == (speaker or None)

    with serving(Tools().app(**options)) as url:
        asyncio.run(turns(url))


class Events(EventStore):
    """
    Keeps whom it sees bound when an answer for bob is stored.
    """

    def __init__(self) -> None:
        self.bound: list[str | None] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        if message is not None and '"bob"' in json.dumps(message.model_dump(mode="json")):
            self.bound.append(get_user_id())
        return "1"

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> None:
        return None


def test_the_tasks_of_a_stateful_session_have_the_ids_of_its_first_request() -> None:
    """
    The hazard (modelcontextprotocol/python-sdk#2208): bob's answer is stored under alice's IDs.
    """
    events = Events()

    async def turns(url: str) -> None:
        async with speaking(url) as session:
            assert (await session.call("see_async", "bob"))["bound"] == "bob"

    with serving(Tools().app(event_store=events)) as url:
        asyncio.run(turns(url))
    assert events.bound == ["alice"]


@asynccontextmanager
async def calling(url: str, tool: str, *lines: tuple[str, str]) -> AsyncIterator[httpx2.Response]:
    """
    Call a tool by hand for bob, with any header lines; its answer has begun meanwhile.
    """
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}
    headers = [("Accept", "application/json, text/event-stream"), ("X-User-ID", "bob"), *lines]
    async with (
        httpx2.AsyncClient(timeout=DEADLINE) as http,
        http.stream("POST", url, json=message, headers=headers) as answer,
    ):
        yield answer


async def hang_up(url: str, tools: Tools) -> None:
    """
    Call a tool in a session, leave once its answer begins, and wait for the tool.
    """
    async with speaking(url) as session:
        [minted] = session.lines("Mcp-Session-Id", "initialize")[0]
        lines = ("Mcp-Session-Id", minted), ("X-Session-ID", "left")
        async with calling(url, "outlive", *lines) as answer:
            assert answer.status_code == 200
        assert await asyncio.to_thread(tools.seen_later.wait, DEADLINE)


def test_a_tool_that_outlives_its_request_keeps_its_ids() -> None:
    """
    R1: the client hangs up, and the tool that goes on still works for the same user.
    """
    tools = Tools()
    app = tools.app()

    async def noticing(scope: Any, receive: Any, send: Any) -> None:
        left = (b"x-session-id", b"left") in scope.get("headers", ())
        await app(scope, receive, send)
        if left:
            tools.request_ended.set()

    with serving(noticing) as url:
        asyncio.run(hang_up(url, tools))
    assert tools.later["user"] == "bob"


@pytest.mark.parametrize("options", [{}, JSON], ids=["sse", "json"])
def test_the_session_of_mcp_is_none_of_ours(options: dict[str, Any]) -> None:
    """
    Behaviours 5: Mcp-Session-Id comes and goes as the server minted it, and names no ID of ours.
    """

    async def turns(url: str) -> None:
        async with speaking(url) as session:
            minted = session.lines("Mcp-Session-Id", "initialize")[0]
            assert (await session.call("see_sync", "bob"))["mcp"] == minted
            assert session.lines("Mcp-Session-Id")[-1] == minted
            await session.call("see_sync", "bob")
            first, second = session.lines("X-Session-ID")
            assert (len(first), len(second)) == (1, 1)
            assert minted not in (first, second)
            assert first != second

    with serving(Tools().app(**options)) as url:
        asyncio.run(turns(url))


@pytest.mark.parametrize("mode", [mode for mode in MODES if not mode.startswith("stateful")])
def test_where_mcp_has_no_session_there_is_none(mode: str) -> None:
    """
    Behaviours 5: without MCP sessions none is minted, and a client's own passes untouched.
    """
    era, options = MODES[mode]

    async def turns(url: str) -> None:
        async with speaking(url, era, Mcp_Session_Id='a "b"; c') as session:
            assert (await session.call("see_sync", "bob"))["mcp"] == ['a "b"; c']
            assert session.lines("Mcp-Session-Id") == [[]]
            [[ours]] = session.lines("X-Session-ID")
            assert ours != 'a "b"; c'

    with serving(Tools().app(**options)) as url:
        asyncio.run(turns(url))


@modes
def test_nothing_of_ours_is_in_meta(mode: str) -> None:
    """
    _meta has what MCP and W3C put there, though IDs are bound at both ends.
    """
    era, options = MODES[mode]
    foreign = "progressToken", "traceparent", "tracestate", "baggage"

    async def turns(url: str) -> None:
        async with speaking(url, era) as session:
            with session_context("s-22", user_id="u-22", tenant_id="t-22"):
                answer = await session.call("see_sync", "bob", meta={"traceparent": "00-1-2-00"})
        assert answer["user"] == "bob"
        assert answer["meta"]["traceparent"] == "00-1-2-00"
        for meta in (answer["meta"], answer["result meta"] or {}):
            keys = {key for key in meta if not key.startswith("io.modelcontextprotocol/")}
            assert keys <= set(foreign)
            assert not {"bob", "s-22", "u-22", "t-22"} & set(re.findall(r"[\w-]+", repr(meta)))

    with serving(Tools().app(**options)) as url:
        asyncio.run(turns(url))


def test_a_legacy_source_reads_the_session_of_mcp() -> None:
    """
    Behaviours 5: named first among the sources, Mcp-Session-Id is read, and MCP still has it.
    """
    session = session_spec(sources=["Mcp-Session-Id", "X-Session-ID"])

    async def turns(url: str) -> None:
        async with speaking(url, X_Session_ID="chat-42") as session:
            minted = session.lines("Mcp-Session-Id", "initialize")[0]
            assert (await session.call("see_sync", "bob"))["mcp"] == minted
            assert session.lines("X-Session-ID", "initialize") == [["chat-42"]]
            assert session.lines("X-Session-ID") == [minted]

    with serving(Tools().app(Policy(session=session))) as url:
        asyncio.run(turns(url))


def test_a_legacy_source_that_is_not_taken_is_gone() -> None:
    """
    R5, R7: behind another source, unusable or sent twice, Mcp-Session-Id never reaches MCP.
    """
    sources = ["X-Session-ID", "Mcp-Session-Id"]

    async def statuses(url: str) -> list[int]:
        async with speaking(url) as session:
            [minted] = session.lines("Mcp-Session-Id", "initialize")[0]
            line, found = ("Mcp-Session-Id", minted), []
            for lines in (
                [line],
                [line, ("X-Session-ID", "s1")],
                [("Mcp-Session-Id", '"')],
                [line] * 2,
            ):
                async with calling(url, "see_sync", *lines) as answer:
                    found.append(answer.status_code)
            return found

    with serving(Tools().app(Policy(session=session_spec(sources=sources)))) as url:
        assert asyncio.run(statuses(url)) == [200, 400, 400, 400]


def test_a_tool_without_its_request_fails() -> None:
    """
    R6: where the application is not wrapped the tool errs, instead of believing a header.
    """
    tools = Tools()
    mcp = tools.example["server"].streamable_http_app()

    async def call(url: str) -> bool:
        async with speaking(url) as session:
            return (await session.client.call_tool("whoami", {})).is_error

    with serving(mcp) as url:
        assert asyncio.run(call(url))


def test_the_mcp_example_knows_whose_request_its_tool_serves() -> None:
    """
    R1, R6: started by the command at its top, the example tells two users of one session apart.
    """

    async def turns(url: str) -> list[Any]:
        async with speaking(url, X_Session_ID="chat-42") as session:
            return [await session.call("whoami", speaker) for speaker in ("alice", "bob")]

    with running("mcp_app.py") as address:
        answers = asyncio.run(turns(f"{address}/mcp"))
    assert [answer["user_id"] for answer in answers] == ["alice", "bob"]
    assert {answer["session_id"] for answer in answers} == {"chat-42"}
