"""
The IDs in outgoing baggage, and what comes in with it.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, Tracer

from drive import ask_asgi, http_scope
from idlanyard import (
    EVERYONE,
    UNSET,
    Baggage,
    Policy,
    clear_session_context,
    get_session_context,
    get_session_id,
    identify,
    inject,
    restore,
    session_context,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._decision.protocols import ASGIRequest
from idlanyard._failures import failures
from idlanyard._policy.id_check import IDCheck
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.opentelemetry import install
from idlanyard.integrations.opentelemetry._names import AttributeNames
from idlanyard.integrations.opentelemetry._propagation import SessionContextPropagator
from idlanyard.testing import raise_failures
from integrations.sides import HOST
from integrations.tracing import exporter, provider, tracer

__all__ = ["exporter", "provider", "tracer"]

IN_AND_OUT = Policy(
    session=session_spec(sources=["X-Session-ID", Baggage("session.id")], baggage=True),
    user=user_spec(baggage=True),
    tenant=tenant_spec(baggage=True),
)


@pytest.fixture
def opted_in() -> Iterator[None]:
    """
    Every ID asks for baggage.
    """
    undo = use_policy(IN_AND_OUT)
    yield
    undo()


@pytest.fixture
def installed(provider: TracerProvider) -> Iterator[None]:
    """
    Our propagator is in place.
    """
    undo = install(tracer_provider=provider)
    yield
    undo()


def sent(ctx: context.Context | None = None) -> dict[str, Any]:
    """
    Return what an outgoing call would carry as baggage, read back.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier, ctx)
    return {**baggage.get_all(W3CBaggagePropagator().extract(carrier, context.Context()))}


@pytest.mark.usefixtures("installed")
def test_baggage_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    S16: no ID goes out in baggage unless its spec says so; no environment says so.
    """
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_SESSION_PROPAGATION", "baggage")
    with session_context("s1", "u1", "t1"):
        assert sent() == {}
        theirs = baggage.set_baggage("session.id", "their own")
        assert sent(theirs) == {"session.id": "their own"}


@pytest.mark.usefixtures("installed")
def test_each_id_opts_in_by_itself() -> None:
    """
    R10, S16: one ID in baggage takes no other along.
    """
    undo = use_policy(Policy(tenant=tenant_spec(baggage=True)))
    with session_context("s1", "u1", "t1"):
        assert sent() == {"customer.id": "t1"}
    undo()


@pytest.mark.usefixtures("opted_in")
def test_keys_are_those_of_the_spans(provider: TracerProvider) -> None:
    """
    With the genai names the keys are gen_ai.conversation.id, user.id and customer.id, and
    an absent ID is not written.
    """
    undo = install(tracer_provider=provider, names="genai")
    with session_context("s1", "u1", "t1"):
        assert sent() == {"gen_ai.conversation.id": "s1", "user.id": "u1", "customer.id": "t1"}
    with session_context("s1"):
        assert sent() == {"gen_ai.conversation.id": "s1"}
    undo()


@pytest.mark.usefixtures("opted_in")
def test_an_id_without_a_name_stays_here(provider: TracerProvider) -> None:
    """
    An ID that is left off spans is left out of baggage.
    """
    undo = install(tracer_provider=provider, names={"user_id": None})
    with session_context("s1", "u1"):
        assert sent() == {"session.id": "s1"}
    undo()


def agree() -> str | None:
    """
    Return the session, which context, header and baggage all have.
    """
    headers: dict[str, str] = {}
    inject(headers)
    said = {get_session_id(), headers.get("X-Session-ID"), sent().get("session.id")}
    assert len(said) == 1
    return said.pop()


def fail_in_a_block(session: str) -> None:
    with session_context(session):
        assert agree() == session
        raise LookupError


@pytest.mark.usefixtures("opted_in", "installed")
def test_header_context_and_baggage_never_disagree() -> None:
    """
    They have one value inside a block, inside a
    nested one with fewer IDs, after each of them, and after clearing.
    """
    assert agree() is None
    with session_context("s1"):
        assert agree() == "s1"
        with session_context("s2"):
            assert agree() == "s2"
            with session_context(user_id="u2"):
                assert agree() == "s2"
            with session_context(UNSET):
                assert agree() is None
        assert agree() == "s1"
        with pytest.raises(LookupError):
            fail_in_a_block("s3")
        assert agree() == "s1"
    assert agree() is None
    with session_context("s4"):
        identify(session_id="s5")
        assert agree() == "s5"
        clear_session_context()
        assert agree() is None
    assert agree() is None
    assert baggage.get_all() == {}


@pytest.mark.usefixtures("opted_in", "installed")
def test_what_a_client_left_in_baggage_is_not_sent_on() -> None:
    """
    Under the keys of IDs that opted in goes what is in force, or nothing;
    other members go on as they were.
    """
    theirs = {"session.id": "evil", "user.id": "admin", "app.mode": "a b"}
    carrier = {"baggage": "session.id=evil,user.id=admin,app.mode=a%20b"}
    token = context.attach(propagate.extract(carrier, context.Context()))
    try:
        assert baggage.get_all() == theirs
        assert sent() == {"app.mode": "a b"}
        with session_context("s1"):
            assert sent() == {"session.id": "s1", "app.mode": "a b"}
    finally:
        context.detach(token)


@pytest.mark.usefixtures("opted_in", "installed")
def test_other_members_do_not_push_ours_out() -> None:
    """
    S16: ours are written first, so that the limits of the codec are met by the others.
    """
    crowd = context.Context()
    for number in range(200):
        crowd = baggage.set_baggage(f"k{number}", "v" * 60, crowd)
    carrier: dict[str, str] = {}
    with session_context("s1", "u1", "t1"):
        propagate.inject(carrier, crowd)
    assert carrier["baggage"].startswith("session.id=s1,user.id=u1,customer.id=t1,k0=v")


@pytest.mark.usefixtures("opted_in", "installed")
def test_metadata_of_a_message_has_the_w3c_keys_only() -> None:
    """
    The _meta of an MCP client holds traceparent and baggage, and no ID of ours.
    """
    meta: dict[str, str] = {}
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with session_context("s1"), tracer.start_as_current_span("tools/call"):
        propagate.inject(meta)
    assert meta.keys() == {"traceparent", "baggage"}


@pytest.mark.usefixtures("opted_in", "installed")
@pytest.mark.parametrize("value", ["s1", None, "not an id"])
def test_a_consumer_restores_what_baggage_has(value: str | None) -> None:
    """
    A message's baggage is bound by restore, written to no context, and never raises.
    """
    came = context.Context() if value is None else baggage.set_baggage("session.id", value)
    found = baggage.get_baggage("session.id", came)
    with restore({"session_id": found} if found else None) as restored:
        assert restored.session_id == ("s1" if value == "s1" else None)
        assert sent() == ({"session.id": "s1"} if value == "s1" else {})
    assert baggage.get_all() == {}


def test_a_request_is_read_and_sent_on(provider: TracerProvider) -> None:
    """
    R10: the middleware's own policy reads baggage and writes it, percent-encoded as it
    came; a value that OpenTelemetry would garble is refused on both sides.
    """
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((get_session_id(), sent(propagate.extract(header)).get("session.id")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    policy = Policy(session=session_spec(sources=[Baggage("session.id")], mint=None, baggage=True))
    undo = install(tracer_provider=provider)
    for value in ("user%3A1", "a%2Bb", "a+b", "a;b=c"):
        header = {"baggage": f"session.id={value}"}
        ask_asgi(SessionContextMiddleware(app, policy), http_scope(header.items()))
    undo()
    assert seen == [("user:1", "user:1"), ("a+b", "a+b"), (None, None), (None, None)]


VISIBLE = st.from_regex(r"[!-~]{1,60}", fullmatch=True).filter(IDCheck("visible").matches)


@given(VISIBLE)
def test_no_id_is_garbled_by_the_codec(id: str) -> None:
    """
    S16, R7: what may be an ID comes out of OpenTelemetry's codec, and out of the source, as it
    went in.
    """
    header: dict[str, str] = {}
    W3CBaggagePropagator().inject(header, baggage.set_baggage("session.id", id))
    read = W3CBaggagePropagator().extract(header, context.Context())
    assert baggage.get_baggage("session.id", read) == id
    lines = [(b"baggage", header["baggage"].encode())]
    assert Baggage("session.id").read(ASGIRequest({"headers": lines}, DEFAULT_POLICY)) == [id]


@given(st.text(st.sampled_from("session.id=,; +%2Bab3"), max_size=50))
def test_the_source_and_the_codec_never_differ(line: str) -> None:
    """
    S16: of whatever a client sends, what the source takes for an ID OpenTelemetry never takes for
    another.
    """
    header = f"session.id={line}"
    found = Baggage("session.id").read(
        ASGIRequest({"headers": [(b"baggage", header.encode())]}, DEFAULT_POLICY)
    )
    if len(found) == 1 and IDCheck("visible").reason(found[0]) is None:
        theirs = W3CBaggagePropagator().extract({"baggage": header}, context.Context())
        assert baggage.get_baggage("session.id", theirs) in (found[0], None)


class Listener(http.server.BaseHTTPRequestHandler):
    """
    Notes the baggage of each request, and redirects to where the path says.
    """

    heard: list[tuple[int, str | None]]

    def do_GET(self) -> None:
        """
        Answer.
        """
        _, own = self.connection.getsockname()
        self.heard.append((own, self.headers["baggage"]))
        port = self.path.strip("/")
        self.send_response(302 if port else 204)
        if port:
            self.send_header("Location", f"http://{HOST}:{port}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """
        Return nothing.
        """


@contextmanager
def two_servers() -> Iterator[tuple[int, int, list[tuple[int, str | None]]]]:
    """
    Serve on two ports; what they hear is noted in one list.
    """
    heard: list[tuple[int, str | None]] = []
    handler = type("Noting", (Listener,), {"heard": heard})
    servers = [http.server.ThreadingHTTPServer((HOST, 0), handler) for _ in range(2)]
    threads = [threading.Thread(target=one.serve_forever, args=(0.05,)) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield servers[0].server_port, servers[1].server_port, heard
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def get_by_httpx(provider: TracerProvider, *urls: str) -> None:
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as client:
        HTTPXClientInstrumentor.instrument_client(client, tracer_provider=provider)
        for url in urls:
            client.get(url)


def get_by_requests(provider: TracerProvider, *urls: str) -> None:
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with requests.Session() as session:
            session.trust_env = False
            for url in urls:
                session.get(url)
    finally:
        instrumentor.uninstrument()


@pytest.mark.usefixtures("opted_in")
def test_only_listed_origins_get_baggage(provider: TracerProvider) -> None:
    """
    R12, S13, S14: an instrumented client carries IDs to the listed origin; to another port, and
    on a redirect there, it carries the application's own members only.
    """
    with two_servers() as (ours, other, heard):
        undo = install(tracer_provider=provider, to=[f"http://{HOST}:{ours}"])
        with session_context("s1"):
            base = f"http://{HOST}"
            get_by_httpx(provider, f"{base}:{ours}", f"{base}:{other}", f"{base}:{ours}/{other}")
            get_by_httpx(provider, f"{base}:{other}/{ours}")
            token = context.attach(baggage.set_baggage("app.mode", "x"))
            get_by_httpx(provider, f"{base}:{ours}/{other}")
            context.detach(token)
        undo()
        get_by_httpx(provider, f"{base}:{ours}")
    assert heard == [
        (ours, "session.id=s1"),
        (other, None),
        (ours, "session.id=s1"),
        (other, None),
        (other, None),
        (ours, "session.id=s1"),
        (ours, "session.id=s1,app.mode=x"),
        (other, "app.mode=x"),
        (ours, None),
    ]


@pytest.mark.usefixtures("opted_in")
@pytest.mark.parametrize("get", [get_by_httpx, get_by_requests])
def test_no_origin_is_listed_by_default(get: Callable[..., None], provider: TracerProvider) -> None:
    """
    S13: without a list no instrumented client carries an ID anywhere.
    """
    with two_servers() as (ours, other, heard):
        undo = install(tracer_provider=provider)
        with session_context("s1"):
            get(provider, f"http://{HOST}:{ours}/{other}")
        undo()
    assert heard == [(ours, None), (other, None)]


@pytest.mark.usefixtures("opted_in")
def test_a_client_that_redirects_unseen_gets_none(provider: TracerProvider) -> None:
    """
    S14: requests follows redirects below its one span, so that its baggage would go along: it
    gets none even for a listed origin; EVERYONE says that this does not matter.
    """
    with two_servers() as (ours, other, heard):
        for to in ([f"http://{HOST}:{ours}"], EVERYONE):
            undo = install(tracer_provider=provider, to=to)
            with session_context("s1"):
                get_by_requests(provider, f"http://{HOST}:{ours}/{other}")
            undo()
    line = "session.id=s1"
    assert heard == [(ours, None), (other, None), (ours, line), (other, line)]


KINDS = [kind for kind in SpanKind if kind is not SpanKind.CLIENT]


@pytest.mark.usefixtures("opted_in", "installed")
@pytest.mark.parametrize("kind", KINDS)
def test_code_that_injects_by_itself_is_the_permission(kind: SpanKind, tracer: Tracer) -> None:
    """
    R12: as with inject(headers), a call outside of a client's span is the
    permission.
    """
    with session_context("s1"), tracer.start_as_current_span("one", kind=kind):
        assert sent() == {"session.id": "s1"}


@pytest.mark.usefixtures("opted_in")
@pytest.mark.parametrize(
    ("attributes", "goes"),
    [
        pytest.param({"url.full": "https://api.example/x"}, True, id="now"),
        pytest.param({"http.url": "https://api.example:443/x"}, True, id="before"),
        pytest.param({"url.full": "https://api.example.evil/"}, False, id="another"),
        pytest.param({"url.full": "https://evil.example/?https://api.example"}, False, id="query"),
        pytest.param({"url.full": "https://api.example@evil.example/"}, False, id="credentials"),
        pytest.param({"url.full": 1}, False, id="number"),
        pytest.param({"rpc.system": "grpc"}, False, id="no URL"),
    ],
)
def test_a_client_span_goes_by_its_url(
    attributes: dict[str, Any], goes: bool, provider: TracerProvider, tracer: Tracer
) -> None:
    """
    S13: whatever a client's span does not show to be listed is not.
    """
    undo = install(tracer_provider=provider, to=["https://api.example"])
    with (
        session_context("s1"),
        tracer.start_as_current_span("call", kind=SpanKind.CLIENT, attributes=attributes),
    ):
        assert sent() == ({"session.id": "s1"} if goes else {})
    undo()


@pytest.mark.usefixtures("opted_in")
def test_where_nothing_is_recorded_nothing_goes() -> None:
    """
    R12: without a record of the call nothing says where it goes, so no ID does; EVERYONE does
    not ask.
    """
    silent = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    for to, found in (((), {}), (EVERYONE, {"session.id": "s1"})):
        undo = install(tracer_provider=silent, to=to)
        with session_context("s1"), silent.get_tracer("t").start_as_current_span("one"):
            assert sent() == found
        undo()
    silent.shutdown()
    assert failures == {}


@pytest.mark.usefixtures("opted_in", "installed")
def test_a_span_that_has_ended_says_nothing(tracer: Tracer) -> None:
    """
    R12: where the span that is current has ended no ID goes.
    """
    span = tracer.start_span("ended")
    span.end()
    with session_context("s1"), trace.use_span(span):
        assert sent() == {}


@pytest.mark.usefixtures("opted_in")
def test_a_disabled_sdk_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    R12: with OTEL_SDK_DISABLED clients have no spans, and so nothing says where they call.
    """
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    disabled = TracerProvider(shutdown_on_exit=False)
    undo = install(tracer_provider=disabled)
    with session_context("s1"):
        assert sent() == {}
    undo()
    disabled.shutdown()


@pytest.mark.usefixtures("opted_in", "installed")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"Baggage": "session.id=old,a=%20;p"}, {"Baggage": "a=%20;p"}, id="ours"),
        pytest.param({"BAGGAGE": " user.id = old"}, {}, id="only ours"),
        pytest.param({"baggage": "a=b"}, {"baggage": "a=b"}, id="theirs"),
        pytest.param({"x": "session.id=old"}, {"x": "session.id=old"}, id="another header"),
        pytest.param({"baggage": b"a=b"}, {"baggage": b"a=b"}, id="bytes"),
    ],
)
def test_headers_lose_what_an_earlier_hop_had(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """
    S14: our members leave a header that is sent again, the others stay byte for byte.
    """
    propagate.inject(before)
    assert before == after


class Pairs:
    """
    Headers that are no mapping.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def set(self, carrier: Pairs, key: str, value: str) -> None:
        """
        Add one.
        """
        carrier.pairs.append((key, value))


@pytest.mark.usefixtures("opted_in", "installed")
def test_any_carrier_will_do() -> None:
    """
    OpenTelemetry's propagators: a setter writes to what only it knows.
    """
    carrier = Pairs()
    with session_context("s1"):
        propagate.inject(carrier, setter=carrier)  # type: ignore[arg-type]
    assert carrier.pairs == [("baggage", "session.id=s1")]


def test_without_a_baggage_propagator_none_is_written() -> None:
    """
    R11: ours writes through the application's own propagator, whatever that is.
    """
    only_ids = SessionContextPropagator(
        CompositePropagator([]), AttributeNames("default"), (), traced=True
    )
    carrier: dict[str, str] = {}
    with session_context("s1"):
        only_ids.inject(carrier)
    assert (carrier, only_ids.fields) == ({}, set())


@pytest.mark.usefixtures("opted_in")
def test_a_propagator_that_wraps_ours_survives_the_undo(provider: TracerProvider) -> None:
    """
    Undone, ours steps aside where somebody else has wrapped it since.
    """
    before = propagate.get_global_textmap()
    undo = install(tracer_provider=provider)
    wrapping = CompositePropagator([propagate.get_global_textmap()])
    propagate.set_global_textmap(wrapping)
    with session_context("s1"):
        assert sent() == {"session.id": "s1"}
        undo()
        undo()
        assert sent() == {}
    assert propagate.get_global_textmap() is wrapping
    assert wrapping.fields == before.fields
    propagate.set_global_textmap(before)


class Broken(dict[str, str]):
    """
    Headers whose names cannot be listed.
    """

    def __iter__(self) -> Any:
        raise OSError("no names")


@pytest.mark.usefixtures("opted_in", "installed")
def test_a_failure_of_ours_sends_no_baggage_and_fails_no_call() -> None:
    """
    R14: the call goes on with its trace; baggage, of which nothing is sure, stays here.
    """
    token = context.attach(baggage.set_baggage("user.id", "admin"))
    try:
        carrier = Broken()
        with session_context("s1"):
            propagate.inject(carrier)
            assert carrier == {}
            assert failures == {"baggage": 1}
            with raise_failures(), pytest.raises(OSError, match="no names"):
                propagate.inject(carrier)
    finally:
        context.detach(token)
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert get_session_context().is_empty()
