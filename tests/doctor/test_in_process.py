"""
Applications that hang, fail or forget themselves are described, and never waited for.
"""

from __future__ import annotations

import asyncio
import contextvars
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.propagators.composite import CompositePropagator

from doctor.apps import wrong
from doctor.observing import observed, options_for
from idlanyard import (
    EVERYONE,
    UNSET,
    Policy,
    PolicyError,
    request_spec,
    session_context,
    session_spec,
    user_spec,
)
from idlanyard._binding.events import Event
from idlanyard._doctor._context import list_left
from idlanyard._doctor._driving_asgi import drive_asgi, run_lifespan
from idlanyard._doctor._driving_wsgi import drive_wsgi
from idlanyard._doctor._in_process import main, observe_application
from idlanyard._doctor._observations import Probe
from idlanyard._doctor._options import VARIABLE, dump_options
from idlanyard._doctor._policies import Caught, make_sessions, read_rules
from idlanyard._doctor._target import CannotRun
from idlanyard._policy.policy import checked_policy
from idlanyard.integrations.httpx import install as install_httpx
from idlanyard.integrations.opentelemetry._names import AttributeNames
from idlanyard.integrations.opentelemetry._propagation import SessionContextPropagator

PROBE = Probe(label="read", path="/", session="s1")


@pytest.mark.parametrize("name", ["slow", "slow_async"])
def test_an_application_that_hangs_cannot_be_checked(name: str) -> None:
    """
    An application that does not answer the first request is given up after the time limit.
    """
    with pytest.raises(CannotRun, match="does not answer: no response within"):
        observe_application(options_for(f"doctor.apps.wrong:{name}", limit=0.1), lambda _: None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("silent", "its call ended without a response: let it answer 404 to a path"),
        ("failing_lifespan", "lifespan failed: no database: start what it needs"),
        ("never_started", "lifespan did not start within 0.1 seconds"),
    ],
)
def test_a_lifespan_that_fails_is_explained(name: str, said: str) -> None:
    """
    An application that does not start is not asked anything.
    """
    with pytest.raises(CannotRun, match=said):
        observe_application(options_for(f"doctor.apps.wrong:{name}", limit=0.1), lambda _: None)


def test_a_lifespan_that_fails_without_a_word() -> None:
    """
    A failure without a message is a failure all the same.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed"})

    async def start() -> None:
        async with run_lifespan(app, 1):
            raise AssertionError("it started")

    with pytest.raises(CannotRun, match="no reason given"):
        asyncio.run(start())


def drive(app: Any, probe: Probe = PROBE, limit: float = 5) -> Any:
    """
    Drive an ASGI application with one request.
    """
    return asyncio.run(drive_asgi(app, probe, host="localhost", limit=limit, state={}))


def test_a_stream_without_end_is_left() -> None:
    """
    A response that goes on for ever counts as begun, in parts.
    """

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.Event().wait()

    found = drive(endless, limit=0.1)
    assert (found.status, found.parts, found.fault, found.is_late) == (200, 1, "", False)


def test_a_client_goes_away_after_the_response() -> None:
    """
    Receiving again returns the disconnect once the response is over, or is long enough.
    """
    heard: list[str] = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(60):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        heard.append((await receive())["type"])

    assert drive(listening).parts == 60
    assert heard == ["http.disconnect"]


def test_a_denied_websocket_has_a_status() -> None:
    """
    A WebSocket that is refused with a response has the status of that.
    """

    async def denying(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})
        assert (await receive())["type"] == "websocket.disconnect"

    probe = Probe(label="websocket", path="/?a=1", websocket=True)
    assert (drive(denying, probe).status, drive(denying, probe).fault) == (403, "")


def test_a_closed_websocket_has_none() -> None:
    """
    A WebSocket that is closed before it is accepted has no status.
    """

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    assert drive(closing, Probe(label="websocket", path="/", websocket=True)).status == 0


def test_a_wsgi_body_may_be_written_and_closed() -> None:
    """
    Parts that an application writes are counted, an endless body is left, and closed.
    """
    closed: list[bool] = []

    class Endless:
        def __iter__(self) -> Any:
            while True:
                yield b"x"

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Endless:
        start_response("200 OK", [])(b"x")
        return Endless()

    assert drive_wsgi(app, PROBE, host="localhost", limit=5).parts == 51
    assert closed == [True]


def test_an_id_that_stays_bound_is_found() -> None:
    """
    What is still bound by us, and texts in built-in containers, count as left; nothing else.
    """
    context = contextvars.Context()
    variables = {name: contextvars.ContextVar[Any](name) for name in ("text", "deep", "odd", "far")}

    def leave() -> None:
        session_context(session_id="s1").__enter__()
        variables["text"].set("the session s1")
        variables["deep"].set({"a": [(b"s1",)]})
        variables["far"].set([[[["s1"]]]])
        variables["odd"].set(object())

    context.run(leave)
    assert list_left(context, "s1") == ["deep", "idlanyard", "text"]
    assert list_left(context, "") == ["idlanyard"]


def test_a_context_that_was_unbound_again_has_nothing_left() -> None:
    """
    A block that has ended leaves nothing.
    """
    context = contextvars.Context()

    def leave() -> None:
        with session_context(session_id="s1"):
            pass
        with session_context(session_id=UNSET):
            pass

    context.run(leave)
    assert list_left(context, "s1") == []


@pytest.mark.parametrize(
    ("policy", "header", "read"),
    [
        pytest.param(Policy(), "X-Session-ID", True, id="the default"),
        pytest.param(Policy(session=session_spec(header="X-Chat-ID")), "X-Chat-ID", True, id="own"),
        pytest.param(
            Policy(session=None, extra=[request_spec()]), "X-Request-ID", True, id="a request ID"
        ),
        pytest.param(Policy(session=None), "X-Session-ID", False, id="none"),
        pytest.param(
            Policy(session=session_spec(sources=["X-Other"])), "X-Session-ID", False, id="elsewhere"
        ),
        pytest.param(
            Policy(session=session_spec(signed=["a" * 32])),
            "X-Session-ID",
            False,
            id="signed",
        ),
    ],
)
def test_the_rules_of_a_policy(policy: Policy, header: str, read: bool) -> None:
    """
    The checks know the header of the session, and whether any client may send it.
    """
    rules = read_rules(checked_policy(policy))
    assert (rules.session, rules.is_read) == (header, read)
    assert rules.lines


@pytest.mark.parametrize(
    "session",
    [
        None,
        session_spec(charset="visible"),
        session_spec(max_length=36),
        session_spec(max_length=20, mint=lambda: "short"),
        session_spec(max_length=5, mint=lambda: "short"),
        session_spec(max_length=5, mint=None),
    ],
)
def test_sessions_are_valid_under_the_policy(session: Any) -> None:
    """
    The IDs that the doctor sends are accepted, also where the policy wants few characters.
    """
    policy = None if session is None else checked_policy(Policy(session=session))
    made = next(make_sessions(policy))
    assert len(made) <= (255 if session is None else session.max_length)


def test_only_requests_are_caught() -> None:
    """
    A block that binds IDs is no request.
    """
    caught = Caught()
    with session_context(session_id="s1") as context:
        caught.keep(Event("bind", context))
    assert (caught.policy, caught.bound) == (None, {})


def test_the_child_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The file has the observations, or the reason why there are none.
    """
    file = tmp_path / "observations"
    for target, word in (("right:wsgi", '"framework": "flask"'), ("wrong:nothing", '"cannot run"')):
        monkeypatch.setenv(VARIABLE, dump_options(options_for(f"doctor.apps.{target}")))
        assert main([str(file)]) == 0
        assert word in file.read_text(encoding="utf-8")


def test_a_user_that_anyone_may_name_needs_no_proof() -> None:
    """
    An ID that the policy takes from anyone is none that a stranger spoofs.
    """
    assert read_rules(checked_policy(Policy(user=user_spec(accept="anyone")))).identities == [
        "X-Tenant-ID"
    ]


def test_wrapped_functions_are_looked_into() -> None:
    """
    The layers go through functions that wrap others.
    """
    assert observed("wrong:leaving").application.layers == [f"{wrong.__name__}.leaving"]


def test_only_made_up_paths_and_given_ones_are_called() -> None:
    """
    No route is called that was not named, also not the home page.
    """
    called: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        called.append(environ["PATH_INFO"])
        start_response("404 Not Found", [])
        return []

    wrong.recording = app  # type: ignore[attr-defined]
    try:
        observed("wrong:recording", "/given?a=1")
    finally:
        del wrong.recording  # type: ignore[attr-defined]
    others = {path for path in called if not path.startswith("/idlanyard-doctor-0123/")}
    assert others == {"/given"}
    assert len(called) == 10


def test_integrations_that_are_installed_are_listed() -> None:
    """
    The allow-lists of clients, and a propagator without one, are found without any request.
    """
    client = httpx.Client()
    undo = install_httpx(client, to=["https://api.example", "https://*.b.example"])
    propagator = SessionContextPropagator(
        CompositePropagator([]), AttributeNames({}), EVERYONE, traced=False
    )
    found = observed("light:bare").application
    assert "https://api.example, https://*.b.example" in found.outgoing
    assert found.everyone == ["idlanyard.integrations.opentelemetry"]
    propagator.uninstall()
    undo()
    client.close()
    assert observed("light:bare").application.everyone == []


def test_options_that_were_refused_are_nobodys() -> None:
    """
    An allow-list that was refused, and is only there because of its traceback, does no harm.
    """
    with pytest.raises(PolicyError) as refused:
        SessionContextPropagator(
            CompositePropagator([]), AttributeNames({}), "api.example", traced=False
        )
    found = observed("light:bare").application
    assert refused.value.__traceback__ is not None
    assert found.everyone == []
    assert "api.example" not in str(found.outgoing)


class Lazy:
    """
    An object that finds out what it is when it is asked for its class, as Django's lazy ones.
    """

    asked = 0

    @property
    def __class__(self) -> type:
        Lazy.asked += 1
        raise RuntimeError("there are no settings")

    @__class__.setter
    def __class__(self, _: type) -> None: ...


def test_no_lazy_object_of_the_application_is_set_up() -> None:
    """
    An object of the application whose class is found out on demand is not asked for it.
    """
    lazy = Lazy()
    assert observed("light:bare").application.everyone == []
    assert (type(lazy), Lazy.asked) == (Lazy, 0)


@pytest.mark.parametrize(
    ("policy", "trusts"),
    [
        pytest.param(Policy(), False, id="nobody"),
        pytest.param(Policy(trusted_peers=["unix"]), False, id="a socket"),
        pytest.param(Policy(trusted_peers=["unix", "10.0.0.5"]), True, id="an address"),
    ],
)
def test_only_addresses_can_be_rewritten(policy: Policy, trusts: bool) -> None:
    """
    A policy that trusts a unix socket alone does not go by the peer's address.
    """
    assert read_rules(checked_policy(policy)).trusts_addresses == trusts


def test_a_policy_that_is_switched_off_promises_nothing() -> None:
    """
    With ``enabled=False`` no ID is minted, read or echoed, and none of it is a fault.
    """
    rules = read_rules(checked_policy(Policy(enabled=False)))
    assert (rules.is_minted, rules.is_read, rules.is_echoed) == (False, False, False)
