"""
What the systems that idlanyard replaces do, adopted or inverted, by number.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from idlanyard import (
    UNSET,
    Policy,
    SessionContext,
    bind,
    carry,
    clear_session_context,
    clear_session_id,
    context,
    dump,
    effective_session_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    inject,
    new_session_id,
    process_session_id,
    restore,
    session_context,
    session_spec,
    set_session_context,
    set_session_id,
    without,
)
from idlanyard._binding.inheritance import INHERITS
from idlanyard.asgi import SessionContextMiddleware

BLANK = SessionContext()


def isolated(test: Callable[[], None]) -> None:
    """
    Run *test* in a Context of its own, so that what it sets ends with it.
    """
    contextvars.Context().run(test)


def in_thread(read: Callable[[], object]) -> object:
    """
    Return what *read* returns in a new thread.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()


def respond(app: Any, *headers: tuple[bytes, bytes], policy: Policy | None = None) -> Any:
    """
    Send one POST, of which caches keep nothing, through the middleware around *app*; return
    the response's headers.
    """
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    asyncio.run(_call(SessionContextMiddleware(app, policy or Policy()), scope, send))
    return dict(sent[0]["headers"]) if sent else None


async def _call(app: Any, scope: Any, send: Any) -> None:
    await app(scope, None, send)


async def ok(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer 200 with no header.
    """
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a1_process_id_is_one_for_the_process() -> None:
    """
    The process-wide session ID is the same on every call, and only where it is asked for.
    """
    assert process_session_id() == process_session_id() == effective_session_id()
    assert get_session_id() is None


def test_a2_threads_do_not_see_each_other() -> None:
    """
    A value set in one thread is invisible in another, and in a child that inherits nothing.
    """

    def test() -> None:
        set_session_id("mine")
        assert in_thread(get_session_id) == ("mine" if INHERITS else None)

    isolated(test)


def test_a3_a_set_value_stays_until_cleared() -> None:
    """
    A set value stays until it is replaced or cleared.
    """

    def test() -> None:
        set_session_id("one")
        assert (get_session_id(), get_session_id()) == ("one", "one")
        set_session_id("two")
        assert get_session_id() == "two"
        clear_session_id()
        assert get_session_id() is None

    isolated(test)


def test_a4_clearing_twice_is_harmless() -> None:
    """
    Clearing returns to nothing, also twice.
    """

    def test() -> None:
        set_session_id("one")
        clear_session_id()
        clear_session_id()
        assert get_session_id() is None

    isolated(test)


@pytest.mark.parametrize("nothing", [None, ""])
def test_a5_none_and_empty_mean_no_override(nothing: str | None) -> None:
    """
    Setting None or the empty text means that no session is set.
    """

    def test() -> None:
        set_session_id("one")
        set_session_id(nothing)
        assert get_session_id() is None

    isolated(test)


def test_a6_a_number_is_refused() -> None:
    """
    A number is not kept, and the error says what to write.
    """
    with pytest.raises(TypeError, match=r"session_id must be a str.*write str\(\.\.\.\)"):
        set_session_id(42)  # type: ignore[arg-type]


def test_a11_the_main_thread_keeps_its_own() -> None:
    """
    After workers have set and cleared theirs, the main thread sees what it had.
    """

    def work(session: str) -> str:
        set_session_id(session)
        seen = effective_session_id()
        clear_session_id()
        assert effective_session_id() == process_session_id()
        return seen

    before = effective_session_id()
    threads = [threading.Thread(target=work, args=(name,)) for name in ("session-abc", "xyz")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert effective_session_id() == before


def test_a12_a_pool_thread_forgets_the_request_before() -> None:
    """
    A pooled thread does not hand one block's session to the next job.
    """

    def first() -> None:
        with session_context("req1"):
            assert get_session_id() == "req1"

    with ThreadPoolExecutor(1) as pool:
        pool.submit(first).result()
        assert pool.submit(get_session_id).result() is None


def test_a13_two_tasks_on_one_thread_keep_apart() -> None:
    """
    Tasks that interleave on one thread each read their own session.
    """

    async def task(name: str, barrier: asyncio.Barrier) -> str | None:
        set_session_id(name)
        await barrier.wait()
        return get_session_id()

    async def run() -> list[str | None]:
        barrier = asyncio.Barrier(2)
        return list(await asyncio.gather(task("task-1", barrier), task("task-2", barrier)))

    assert asyncio.run(run()) == ["task-1", "task-2"]


def test_a15_nothing_bound_reads_as_none() -> None:
    """
    With nothing bound, every ID is None.
    """
    assert (get_session_id(), get_user_id(), get_tenant_id()) == (None, None, None)


def test_a16_blocks_nest_and_restore() -> None:
    """
    An inner block restores the outer one.
    """
    with session_context("outer"):
        with session_context("inner"):
            assert get_session_id() == "inner"
        assert get_session_id() == "outer"
    assert get_session_id() is None


def test_a28_nothing_is_left_after_gather() -> None:
    """
    After a gather of decorated coroutines no session is active.
    """

    @session_context("decorated")
    async def work() -> str | None:
        await asyncio.sleep(0)
        return get_session_id()

    async def run() -> tuple[list[str | None], str | None]:
        return list(await asyncio.gather(work(), work())), get_session_id()

    assert asyncio.run(run()) == (["decorated", "decorated"], None)


def test_a29_dump_and_restore_are_the_way_across() -> None:
    """
    A dumped mapping restores the IDs; None and an empty one change nothing.
    """
    with session_context("s", user_id="u"):
        carrier = dump()
    with restore(carrier) as bound:
        assert bound == SessionContext("s", "u")
    with session_context("kept"), restore(None), restore({}):
        assert get_session_id() == "kept"


def test_a31_an_absent_id_sends_no_header() -> None:
    """
    What is absent is not sent as the text None.
    """
    headers: dict[str, str] = {}
    with session_context(user_id="u"):
        inject(headers)
    assert headers == {"X-User-ID": "u"}


def test_b1_every_argument_is_optional_and_the_context_is_yielded() -> None:
    """
    A block needs no argument, and yields what is then read.
    """
    with session_context() as nothing:
        assert nothing == BLANK
    with session_context("s", customer_id="c") as bound:
        assert bound == get_session_context() == SessionContext("s", tenant_id="c")


def test_b3_leaving_restores_also_after_an_exception() -> None:
    """
    Leaving a block restores the previous context, also on an exception.
    """
    with session_context("outer"):
        with pytest.raises(KeyError), session_context("inner"):
            raise KeyError
        assert get_session_id() == "outer"


def test_b4_nothing_is_an_empty_object() -> None:
    """
    With nothing set the snapshot is an empty object, never None.
    """
    assert get_session_context().is_empty()
    assert get_session_context().as_dict() == {}


def test_b5_clear_makes_every_field_absent() -> None:
    """
    Clearing makes every ID None.
    """

    def test() -> None:
        set_session_context("s", "u", "t")
        clear_session_context()
        assert get_session_context() == BLANK

    isolated(test)


def test_b6_setting_the_session_keeps_the_user() -> None:
    """
    Setting one ID leaves the others.
    """

    def test() -> None:
        set_session_context("s", "u", "t")
        set_session_context(session_id="other")
        assert get_session_context() == SessionContext("other", "u", "t")

    isolated(test)


def test_b7_a_nested_block_merges() -> None:
    """
    A nested block that names only the customer keeps the outer session.
    """
    with session_context("s"), session_context(customer_id="c") as bound:
        assert bound == SessionContext("s", tenant_id="c")


def test_b8_an_empty_text_is_empty() -> None:
    """
    A context of empty texts is empty.
    """
    assert SessionContext("", "", "").is_empty()


def test_b9_a_snapshot_cannot_be_changed() -> None:
    """
    The object that get returns is frozen and not shared state.
    """
    with pytest.raises(AttributeError, match="does not change"):
        get_session_context().session_id = "x"  # type: ignore[misc]
    assert get_session_id() is None


def test_b10_gathered_blocks_keep_apart() -> None:
    """
    Two blocks gathered on one loop keep apart.
    """

    async def block(name: str, barrier: asyncio.Barrier) -> str | None:
        with session_context(name):
            await barrier.wait()
            return get_session_id()

    async def run() -> list[str | None]:
        barrier = asyncio.Barrier(2)
        return list(await asyncio.gather(block("a", barrier), block("b", barrier)))

    assert asyncio.run(run()) == ["a", "b"]


def test_b14_absent_ids_have_no_attribute() -> None:
    """
    With nothing set there are no span attributes, rather than empty ones.
    """
    assert get_session_context().as_attributes() == {}
    with session_context("s") as bound:
        assert bound.as_attributes() == {"session.id": "s"}


def test_b30_the_switch_binds_nothing_and_code_still_works() -> None:
    """
    With enabled=False nothing is bound or echoed, and explicit values still work.
    """
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_context())
        with session_context("explicit"):
            seen.append(get_session_id())
        await ok(scope, receive, send)

    echoed = respond(app, (b"x-session-id", b"s"), policy=Policy(enabled=False))
    assert (seen, echoed) == ([BLANK, "explicit"], {})


def test_b34_a_stream_left_early_leaves_nothing() -> None:
    """
    Who breaks out of a decorated async generator keeps its own session.
    """
    complaints: list[Any] = []

    @session_context("generator")
    async def numbers() -> AsyncIterator[str | None]:
        yield get_session_id()
        yield get_session_id()

    async def run() -> tuple[str | None, str | None]:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        with session_context("consumer"):
            seen = []
            async for inside in numbers():
                seen.append(inside)
                break
            return seen[0], get_session_id()

    assert asyncio.run(run()) == ("generator", "consumer")
    assert complaints == []


def test_c1_the_placeholder_lives_in_one_module() -> None:
    """
    Nothing bound is None; only the smallest API answers "unknown".
    """
    assert get_session_id() is None
    assert context.get() == "unknown"


def test_c2_set_then_get() -> None:
    """
    What was set is read in the same context.
    """

    def test() -> None:
        context.set("s")
        assert (context.get(), get_session_id()) == ("s", "s")
        context.clear()
        assert context.get() == "unknown"

    isolated(test)


def test_c3_a_task_takes_what_is_bound_then() -> None:
    """
    A task does not see what its parent sets later.
    """

    async def run() -> tuple[str, str]:
        context.set("before")
        started = asyncio.Event()

        async def child() -> str:
            await started.wait()
            return context.get()

        task = asyncio.create_task(child())
        context.set("after")
        started.set()
        return await task, context.get()

    assert asyncio.run(run()) == ("before", "after")


def test_c4_a_new_thread_sees_nothing() -> None:
    """
    A new thread starts with nothing bound, unless Python was told that it inherits.
    """
    with session_context("s"):
        assert in_thread(context.get) == ("s" if INHERITS else "unknown")


@pytest.mark.parametrize("header", [b"", b"a b", b"\xc3\xa9"], ids=["empty", "space", "not ascii"])
def test_c12_an_unusable_header_is_not_accepted(header: bytes) -> None:
    """
    An empty or refused header is absent, and an ID is minted.
    """
    minted = respond(ok, (b"x-session-id", header))[b"x-session-id"]
    assert len(minted) == 32


def test_c13_the_id_is_echoed() -> None:
    """
    The session ID stands on the response.
    """
    assert respond(ok, (b"x-session-id", b"s1")) == {b"x-session-id": b"s1"}


def test_c14_websocket_handlers_see_the_id() -> None:
    """
    A WebSocket handler reads the session, and its handshake carries it.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_id())
        await send({"type": "websocket.accept"})

    async def send(message: Any) -> None:
        seen.append(dict(message["headers"]))

    scope = {"type": "websocket", "path": "/", "headers": [(b"x-session-id", b"s1")]}
    asyncio.run(_call(SessionContextMiddleware(app, Policy()), scope, send))
    assert seen == ["s1", {b"x-session-id": b"s1"}]


def test_c15_the_variable_is_reset_after_the_request() -> None:
    """
    After the request nothing is bound where it was served.
    """

    async def run() -> SessionContext:
        async def send(message: Any) -> None: ...

        scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s1")]}
        await SessionContextMiddleware(ok, Policy())(scope, None, send)
        return get_session_context()

    assert asyncio.run(run()) == BLANK


def test_c16_background_work_restores_or_inherits() -> None:
    """
    Background work takes a given session, else the one it was started under.
    """

    async def background(session_id: str | None = None) -> str | None:
        with session_context(session_id):
            return get_session_id()

    async def run() -> tuple[str | None, str | None]:
        with session_context("around"):
            return await background("given"), await background()

    assert asyncio.run(run()) == ("given", "around")


def test_c23_one_request_mints_once() -> None:
    """
    Inside a request no second session is ever minted, however many middlewares there are.
    """
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(get_session_id())
        await ok(scope, receive, send)

    headers = respond(SessionContextMiddleware(app, Policy()))
    assert [headers[b"x-session-id"].decode()] == seen


def test_u9_unset_hides_on_purpose() -> None:
    """
    A falsy value falls through to what is bound; UNSET is how to suppress it.
    """
    with session_context("s", user_id="u"):
        with session_context(session_id="", user_id=None) as through:
            assert through == SessionContext("s", "u")
        with session_context(session_id=UNSET) as hidden:
            assert hidden == SessionContext(user_id="u")


@pytest.mark.parametrize("size", [1, 3])
def test_a_decorated_generator_yields_what_it_did(size: int) -> None:
    """
    A decorated function keeps its kind, here a generator, and its name.
    """

    @session_context("decorated")
    def parts() -> Iterator[str | None]:
        for _ in range(size):
            yield get_session_id()

    assert list(parts()) == ["decorated"] * size
    assert parts.__name__ == "parts"


def fastapi_seen(path: str) -> tuple[Any, dict[str, str]]:
    """
    Ask a FastAPI application that tells its session from four places.
    """
    api = FastAPI()
    background: list[str | None] = []

    @api.get("/async")
    async def asynchronous() -> str | None:
        return get_session_id()

    @api.get("/sync")
    def synchronous() -> str | None:
        return get_session_id()

    @api.get("/background")
    def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: background.append(get_session_id()))
        return "later"

    @api.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(str(get_session_id()) for _ in range(2))

    client = TestClient(SessionContextMiddleware(api, Policy()))
    answer = client.get(path, headers={"X-Session-ID": "s1"})
    return background or answer.text, dict(answer.headers)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        pytest.param("/async", '"s1"', id="async endpoint"),
        pytest.param("/sync", '"s1"', id="sync endpoint"),
        pytest.param("/background", ["s1"], id="background task"),
        pytest.param("/stream", "s1s1", id="streaming body"),
    ],
)
def test_c11_endpoints_tasks_and_streams_see_the_id(path: str, seen: object) -> None:
    """
    The session is seen in async and sync endpoints, background tasks and streams.
    """
    found, headers = fastapi_seen(path)
    assert (found, headers["x-session-id"]) == (seen, "s1")


def test_c17_hooks_see_the_id() -> None:
    """
    A callback, sync or async, reads the session of who calls it.
    """

    async def hook() -> str:
        return context.get()

    async def emit(*hooks: Callable[[], Any]) -> list[Any]:
        answers = [each() for each in hooks]
        return [await one if asyncio.iscoroutine(one) else one for one in answers]

    async def run() -> list[Any]:
        with session_context("s"):
            return await emit(context.get, hook)

    assert asyncio.run(run()) == ["s", "s"]


def test_c31_a_test_may_set_at_its_start_and_read_at_its_end() -> None:
    """
    What is set at the start of a piece of work is read at its end.
    """

    async def work() -> str:
        context.set("test-session-123")
        await asyncio.sleep(0)
        return context.get()

    assert asyncio.run(work()) == "test-session-123"


@pytest.mark.parametrize("session", ["Session_001", "session_001", "a/b", "crm_user_12345"])
def test_d3_an_id_comes_back_byte_for_byte(session: str) -> None:
    """
    A valid ID is echoed as it came, its case kept.
    """
    assert respond(ok, (b"x-session-id", session.encode())) == {b"x-session-id": session.encode()}


@pytest.mark.parametrize(
    "session", ["   ", "x" * 10_000, "a\r\nb", "\xe9"], ids=["spaces", "long", "break", "accent"]
)
def test_d6_what_is_no_id_is_not_accepted(session: str) -> None:
    """
    Spaces, 10,000 characters, line breaks and accents are not taken for an ID.
    """
    echoed = respond(ok, (b"x-session-id", session.encode("latin-1")))
    assert len(echoed[b"x-session-id"]) == 32


def test_d20_what_the_framework_answers_is_left_as_it_is() -> None:
    """
    A route that does not exist keeps the framework's own 404, kept from caches.
    """
    api = FastAPI()
    bare = TestClient(api).get("/nowhere")
    wrapped = TestClient(SessionContextMiddleware(api, Policy())).get("/nowhere")
    assert (wrapped.status_code, wrapped.json()) == (bare.status_code, bare.json())
    names = [name for name, _ in wrapped.headers.multi_items()]
    added = ["x-session-id", "cache-control"]
    assert names == [name for name, _ in bare.headers.multi_items()] + added


@pytest.mark.parametrize("session", ["a\r\nX-Role: root", "a\n", "a\x00", "a\x85b"])
def test_a10_a_line_break_never_reaches_a_header(session: str) -> None:
    """
    An ID with a line break is refused where it is set.
    """
    with pytest.raises(ValueError, match="session_id"):
        set_session_id(session)
    assert get_session_id() is None


def test_a22_ids_go_where_they_may() -> None:
    """
    A host that is not on the list gets nothing, and no key is ever added.
    """
    sent: dict[str, str] = {}
    with session_context("s1", user_id="alice"):
        inject(sent, to=["https://api.example"], url="https://elsewhere.example/")
        assert sent == {}
        inject(sent, to=["https://api.example"], url="https://api.example/v1")
    assert sent == {"X-Session-ID": "s1", "X-User-ID": "alice"}


def test_a23_a_child_thread_inherits_what_is_carried() -> None:
    """
    A thread has its parent's session through ``carry``, and else only by inheritance.
    """
    found: list[str | None] = []

    def read() -> None:
        found.append(get_session_id())

    with session_context("s1"):
        for target in (read, carry(read)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert found == ["s1" if INHERITS else None, "s1"]


def test_a24_a_thread_without_a_session_has_none() -> None:
    """
    A thread never adopts what the main thread has bound, or else had bound.
    """
    with ThreadPoolExecutor(1) as pool:
        with session_context("of-the-main-thread"):
            adopted = pool.submit(get_session_id).result()
        assert adopted == ("of-the-main-thread" if INHERITS else None)
        assert pool.submit(get_session_id).result() is None


def test_a26_each_call_can_have_a_session_of_its_own() -> None:
    """
    R15: nothing mints by itself but ``new_session_id``, which mints anew per call.
    """

    def call() -> str | None:
        with session_context(new_session_id()):
            return get_session_id()

    assert call() != call()
    assert get_session_id() is None


def test_a27_ending_what_is_not_there_is_harmless() -> None:
    """
    Clearing where nothing is bound does nothing and raises nothing.
    """

    def clear() -> None:
        clear_session_id()
        clear_session_context()
        clear_session_context()
        assert get_session_context().is_empty()

    isolated(clear)


def test_b27_what_is_read_is_a_copy() -> None:
    """
    Changing what ``as_dict`` returned changes nothing that is bound.
    """
    with session_context("s1") as bound:
        bound.as_dict()["session_id"] = "changed"
        assert get_session_context().as_dict() == {"session_id": "s1"}


def test_b28_an_inner_value_goes_before_the_outer_one() -> None:
    """
    For the same field the inner block's value counts, the others are merged.
    """
    with session_context("s1", tenant_id="acme"), session_context(tenant_id="other"):
        assert get_session_context() == SessionContext("s1", tenant_id="other")


def test_b32_a_public_endpoint_believes_no_identity() -> None:
    """
    By default anybody's session is accepted and nobody's identity; trust is by sender.
    """
    lines = (b"x-session-id", b"s1"), (b"x-user-id", b"root"), (b"x-tenant-id", b"acme")
    assert respond(ok, *lines) == {b"x-session-id": b"s1"}
    restricted = Policy(session=session_spec(accept="proven"))
    assert respond(ok, *lines, policy=restricted)[b"x-session-id"] != b"s1"


def test_b33_each_unit_of_work_starts_empty() -> None:
    """
    In a pooled worker a unit of work has the IDs of its own message or none.
    """

    def work(carrier: dict[str, Any] | None) -> dict[str, str]:
        with without(), restore(carrier):
            return get_session_context().as_dict()

    with session_context("s1"):
        carrier = dump()
    with ThreadPoolExecutor(1) as pool:
        found = [pool.submit(work, one).result() for one in (carrier, None, carrier, {})]
    assert found == [{"session_id": "s1"}, {}, {"session_id": "s1"}, {}]


def test_c8_a_bound_parameter_may_be_given_by_position() -> None:
    """
    Given by position, the caller's value counts.
    """

    @bind
    def call(text: str, session_id: str | None = None) -> tuple[str, str | None]:
        return text, session_id

    with session_context("s1"):
        assert (call("a"), call("a", "mine")) == (("a", "s1"), ("a", "mine"))


def test_c9_keyword_functions_get_nothing() -> None:
    """
    A function that takes any keyword is passed none.
    """

    @bind
    def call(**anything: Any) -> dict[str, Any]:
        return anything

    with session_context("s1"):
        assert call() == {}


@pytest.mark.parametrize("name", ["x-request-id", "x-mcp-request-id", "traceparent"])
def test_c26_a_request_id_is_no_session(name: str) -> None:
    """
    A request's or a trace's ID never becomes the session's.
    """
    echoed = respond(ok, (name.encode(), b"r1"))
    assert echoed.keys() == {b"x-session-id"}
    assert echoed[b"x-session-id"] != b"r1"


def test_c30_a_long_value_is_refused_and_never_cut() -> None:
    """
    30 KB are no ID: refused from code, absent from the wire, nothing is truncated.
    """
    text = "x" * 30_720
    with pytest.raises(ValueError, match="session_id"):
        set_session_id(text)
    assert len(respond(ok, (b"x-session-id", text.encode()))[b"x-session-id"]) == 32
