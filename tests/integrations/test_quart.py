"""
Quart: the contract, and what its page says of threads and its own test client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from anyio.from_thread import start_blocking_portal
from quart import Quart
from quart.testing import QuartClient
from werkzeug.datastructures import Headers

from idlanyard import get_session_id, get_tenant_id, identify
from idlanyard.asgi import SessionContextMiddleware
from integrations.apps.quart_app import build
from integrations.apps.seen import JOURNAL
from integrations.contract import TRUSTING, Contract, WebSockets, nothing_is_noted
from integrations.sides import HOST, Answer, Ask, Line

__all__ = ["nothing_is_noted"]

S1 = [("X-Session-ID", "s1")]


def spelt_out(app: Any) -> Any:
    """
    Return *app* as Quart's client needs it: that fails where ``more_body`` is left out.
    """

    async def spelling_out(scope: Any, receive: Any, send: Any) -> None:
        async def send_all(message: Any) -> None:
            if message["type"] == "http.response.body":
                message = {"more_body": False} | message
            await send(message)

        await app(scope, receive, send_all)

    return spelling_out


@contextmanager
def asking(app: Quart) -> Iterator[Ask]:
    """
    Ask *app* through its own test client, from 127.0.0.1.
    """
    app.asgi_app = spelt_out(app.asgi_app)  # type: ignore[method-assign]
    client = QuartClient(app)
    with start_blocking_portal() as portal:

        def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
            response = portal.call(
                partial(
                    client.open,
                    path,
                    method=method,
                    headers=Headers(list(lines)),
                    scope_base={"client": (HOST, 50000)},
                )
            )
            body: Any = portal.call(response.get_data)
            return Answer(response.status_code, list(response.headers.items()), body)

        portal.call(app.startup)
        yield ask
        portal.call(app.shutdown)


class TestQuart(WebSockets, Contract):
    """
    The contract on Quart, which answers exceptions and denied WebSockets itself.
    """

    build = staticmethod(build)
    protocol = "asgi"
    escapes = False
    denies_by_response = True

    @contextmanager
    def client(self, app: Any) -> Iterator[Ask]:
        if isinstance(app, SessionContextMiddleware):
            # Around a Quart again: its client wants the Quart itself.
            outer, app = app, app.app
            outer.app, app.asgi_app = app.asgi_app, outer
        with asking(app) as ask:
            yield ask


def simple() -> Quart:
    app = Quart(__name__)
    app.asgi_app = SessionContextMiddleware(app.asgi_app, TRUSTING)  # type: ignore[method-assign]
    return app


def test_what_quart_runs_in_threads_has_the_ids() -> None:
    """
    R2, R4: plain functions, before a request, in it and after it, and plain generators share
    the request's scope.
    """
    app = simple()

    @app.before_request
    def find_tenant() -> None:
        identify(tenant_id="acme")

    def parts() -> Iterator[str]:
        for number in range(2):
            yield f"{number} {get_session_id()} {get_tenant_id()} "

    @app.get("/")
    async def stream() -> Iterator[str]:
        app.add_background_task(lambda: JOURNAL.note("thread", get_session_id()))
        return parts()

    with asking(app) as ask:
        answer = ask("/", S1)
        assert answer.body == b"0 s1 acme 1 s1 acme "
        assert answer.all("X-Tenant-ID") == ["acme"]
        assert JOURNAL.wait_for("thread") == ["s1"]


def test_teardown_has_the_ids() -> None:
    """
    R1: functions that Quart calls when a request ends have its session.
    """
    app = simple()

    @app.teardown_request
    async def note(error: BaseException | None) -> None:
        JOURNAL.note("teardown", get_session_id())

    with asking(app) as ask:
        assert ask("/nowhere", S1).all("X-Session-ID") == ["s1"]
        assert JOURNAL.wait_for("teardown") == ["s1"]
