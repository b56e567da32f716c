"""
Pyramid: the contract, but for the 500 that Pyramid leaves to the server, and how it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from werkzeug.test import Client

from idlanyard import get_session_id, identify
from idlanyard._binding.state import ids_of_error
from idlanyard.wsgi import SessionContextMiddleware
from integrations.apps.pyramid_app import build
from integrations.apps.seen import JOURNAL, RAISED, Boom
from integrations.contract import TRUSTING, Contract, nothing_is_noted
from integrations.sides import Answer, Ask, Line, asking_wsgi

__all__ = ["nothing_is_noted"]

S1 = [("X-Session-ID", "s1")]


class Logged:
    """
    A server's line of an exception: notes the IDs that it carries.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        try:
            return self._app(environ, start_response)
        except Boom as error:
            carried = ids_of_error(error)
            JOURNAL.note("error", carried and carried.session_id)
            raise


class TestPyramid(Contract):
    """
    The contract on Pyramid, which lets unhandled exceptions out: the server writes that 500.
    """

    build = staticmethod(build)
    protocol = "wsgi"
    escapes = True

    @contextmanager
    def client(self, app: Any) -> Iterator[Ask]:
        with asking_wsgi(Client(app)) as ask_app:

            def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
                try:
                    return ask_app(path, lines, method=method)
                except Boom:
                    return Answer(500, [], b"as a server says it")

            yield ask

    @contextmanager
    def serving(self, app: Any) -> Iterator[int]:
        with super().serving(Logged(app)) as port:
            yield port

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            pytest.param("/ids", 200, id="200"),
            pytest.param("/nowhere", 404, id="404"),
            pytest.param("/wrong", 409, id="framework error"),
        ],
    )
    def test_every_response_has_the_echo(self, ask: Ask, path: str, status: int) -> None:
        """
        R9: whatever Pyramid answers carries the session, once.
        """
        super().test_every_response_has_the_echo(ask, path, status)

    def test_the_servers_500_has_no_echo_and_the_exception_has_the_ids(self, ask: Ask) -> None:
        """
        Pyramid does not answer what nobody handles; the exception carries
        the IDs to whoever does.
        """
        answer = ask("/boom", S1)
        assert (answer.status, answer.all("X-Session-ID")) == (500, [])
        carried = ids_of_error(RAISED[-1])
        assert carried is not None
        assert carried.session_id == "s1"

    def test_a_second_middleware_adds_nothing(self, side: str) -> None:
        """
        R15: mounted twice there are one ID and one echo, also on a view's 500.
        """
        app = SessionContextMiddleware(build(TRUSTING, handler=True), TRUSTING)
        with self.asking(side, app) as ask:
            answer = ask("/ids", [("X-User-ID", "bob")])
            (session,) = answer.all("X-Session-ID")
            assert answer.json()["ids"] == {"session_id": session, "user_id": "bob"}
            assert ask("/boom", S1).all("X-Session-ID") == ["s1"]


def log_in(handler: Callable[[Request], Response], registry: object) -> Any:
    def tween(request: Request) -> Response:
        identify(user_id="alice")
        return handler(request)

    return tween


def test_a_tween_names_the_user() -> None:
    """
    R2: who a tween identifies is seen by the view and is on the response, a 404 included.
    """

    with Configurator() as config:
        config.add_tween(f"{__name__}.log_in")
        app = SessionContextMiddleware(config.make_wsgi_app())
    with asking_wsgi(Client(app)) as ask:
        assert ask("/nowhere", S1).all("X-User-ID") == ["alice"]


def test_a_finished_callback_has_the_ids() -> None:
    """
    R1: what Pyramid calls when a request is finished reads its session.
    """
    seen: list[str | None] = []

    def view(request: Request) -> Response:
        request.add_finished_callback(lambda _: seen.append(get_session_id()))
        return Response("ok")

    with Configurator() as config:
        config.add_route("home", "/")
        config.add_view(view, route_name="home")
        app = SessionContextMiddleware(config.make_wsgi_app())
    with asking_wsgi(Client(app)) as ask:
        ask("/", S1)
    assert seen == ["s1"]
