"""
Falcon on both sides: the contract, and what its page says of threads and events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import falcon
import falcon.asgi
import pytest
from anyio.from_thread import start_blocking_portal
from falcon.asgi import Request, Response
from falcon.testing import ASGIConductor, TestClient

from idlanyard import Policy, carry, get_session_context, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware
from integrations.apps import falcon_asgi_app, falcon_wsgi_app
from integrations.apps.seen import JOURNAL
from integrations.contract import TRUSTING, Contract, WebSockets, nothing_is_noted
from integrations.sides import HOST, Answer, Ask, Line, leave_early

__all__ = ["nothing_is_noted"]

S1 = [("X-Session-ID", "s1")]


def answer_of(result: Any) -> Answer:
    return Answer(result.status_code, list(result.headers.items()), result.content)


@contextmanager
def conducting(app: Any) -> Iterator[Ask]:
    """
    Ask an ASGI application through Falcon's conductor, in one event loop that goes on.
    """
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(ASGIConductor(app)) as conductor,
    ):

        def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
            asked = {"headers": list(lines), "remote_addr": HOST}
            return answer_of(
                portal.call(partial(conductor.simulate_request, method, path, **asked))
            )

        yield ask


class TestFalconASGI(WebSockets, Contract):
    """
    The contract on Falcon's ASGI side, which answers exceptions itself and denies a WebSocket by
    closing it.
    """

    build = staticmethod(falcon_asgi_app.build)
    protocol = "asgi"
    escapes = False
    denies_by_response = False

    @contextmanager
    def client(self, app: Any) -> Iterator[Ask]:
        with conducting(app) as ask:
            yield ask

    def test_a_stream_that_is_left_cleans_up_with_its_ids(self) -> None:
        """
        R4, S28: the clean-up of events that the client leaves has the request's session.
        """
        with self.serving(type(self).build(TRUSTING)) as port:
            assert leave_early(port, "/endless", "s1") == b"data: 0 s1\n"
            assert JOURNAL.wait_for("left") == ["s1"]


class TestFalconWSGI(Contract):
    """
    The contract on Falcon's WSGI side, which answers exceptions itself.
    """

    build = staticmethod(falcon_wsgi_app.build)
    protocol = "wsgi"
    escapes = False

    @contextmanager
    def client(self, app: Any) -> Iterator[Ask]:
        client = TestClient(app)

        def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
            asked = {"headers": list(lines), "remote_addr": HOST}
            return answer_of(client.simulate_request(method, path, **asked))

        yield ask

    def with_origins_inside(self, policy: Policy) -> Any:
        """
        Return the application with Falcon's own CORS middleware inside ours.
        """
        cors: Any = falcon.CORSMiddleware(allow_origins="http://site", expose_headers=["X-Total"])
        api = falcon.App(middleware=[cors])
        api.add_route("/ids", falcon_wsgi_app.Read())
        return WSGIMiddleware(api, policy)


class Serving:
    """
    A resource whose responder is one function.
    """

    def __init__(self, respond: Any) -> None:
        self.respond = respond

    async def on_get(self, req: Request, resp: Response) -> None:
        await self.respond(resp)


def app_of(respond: Any, **options: Any) -> SessionContextMiddleware:
    api = falcon.asgi.App(**options)
    api.add_route("/", Serving(respond))
    return SessionContextMiddleware(api, TRUSTING)


@pytest.mark.parametrize(
    ("wrap", "seen"),
    [
        pytest.param(lambda fn: fn, {}, id="as it is"),
        pytest.param(carry, {"session_id": "s1"}, id="carried"),
    ],
)
def test_falcons_threads_need_carry(wrap: Any, seen: dict[str, str]) -> None:
    """
    R2: Falcon runs plain functions in threads without the request's Context; ``carry`` takes
    the IDs there.
    """

    def note() -> None:
        JOURNAL.note("thread", get_session_context().as_dict())

    async def respond(resp: Response) -> None:
        await falcon.sync_to_async(wrap(note))
        resp.schedule_sync(wrap(note))

    with conducting(app_of(respond)) as ask:
        ask("/", S1)
        assert JOURNAL.wait_for("thread", 2) == [seen, seen]


def test_a_middleware_of_falcon_names_the_user() -> None:
    """
    R2: who is identified in ``process_request`` is on the response.
    """

    class Login:
        async def process_request(self, req: Request, resp: Response) -> None:
            identify(user_id="alice")

    async def respond(resp: Response) -> None:
        resp.text = str(get_session_id())

    with conducting(app_of(respond, middleware=[Login()])) as ask:
        answer = ask("/", S1)
    assert (answer.body, answer.all("X-User-ID")) == (b"s1", ["alice"])
