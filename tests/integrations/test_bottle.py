"""
Bottle: the contract, and what its page says of hooks, generators and ``catchall``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from bottle import Bottle, redirect

from drive import ask_wsgi, environ_of
from idlanyard import get_session_id, get_user_id, identify
from idlanyard._binding.state import ids_of_error
from idlanyard.wsgi import SessionContextMiddleware
from integrations.apps.bottle_app import build
from integrations.contract import Contract, nothing_is_noted
from integrations.sides import HOST, Answer, Ask, Line

__all__ = ["nothing_is_noted"]

S1 = [("X-Session-ID", "s1")]


@contextmanager
def asking(app: Any) -> Iterator[Ask]:
    """
    Ask *app* as a server does, since Bottle has no test client; werkzeug's raises what Bottle
    hands over as ``exc_info``.
    """

    def ask(path: str, lines: Iterable[Line] = (), *, method: str = "GET") -> Answer:
        asked = {"PATH_INFO": path, "REQUEST_METHOD": method, "wsgi.errors": io.StringIO()}
        response = ask_wsgi(app, environ_of(lines, peer=HOST, **asked))
        return Answer(int(response.status[:3]), response.headers, response.body)

    yield ask


class TestBottle(Contract):
    """
    The contract on Bottle, which answers exceptions itself.
    """

    build = staticmethod(build)
    protocol = "wsgi"
    escapes = False

    def client(self, app: Any) -> AbstractContextManager[Ask]:
        return asking(app)


def test_who_a_hook_identifies_is_on_every_response() -> None:
    """
    R2, R9: also on a redirect and on a 404, which Bottle raises.
    """
    site = Bottle()
    site.add_hook("before_request", lambda: identify(user_id="alice"))
    site.route("/away", callback=lambda: redirect("/"))
    with asking(SessionContextMiddleware(site)) as ask:
        for path, status in (("/away", 303), ("/nowhere", 404)):
            answer = ask(path, S1)
            assert (answer.status, answer.all("X-User-ID")) == (status, ["alice"])


def test_a_view_that_is_a_generator_runs_to_its_first_part_before_the_echo() -> None:
    """
    R2, R4: who it identifies before its first part is on the response, and later is not.
    """

    def view() -> Iterator[str]:
        identify(user_id="alice")
        yield f"{get_user_id()} "
        identify(user_id="bob")
        yield f"{get_user_id()} {get_session_id()}"

    site = Bottle()
    site.route("/", callback=view)
    with asking(SessionContextMiddleware(site)) as ask:
        answer = ask("/", S1)
    assert answer.body == b"alice bob s1"
    assert answer.all("X-User-ID") == ["alice"]


def test_without_catchall_the_exception_carries_the_ids() -> None:
    """
    An exception that Bottle lets out is as it was, and has the IDs with it.
    """

    def boom() -> None:
        raise LookupError("as it was")

    site = Bottle()
    site.config["catchall"] = False
    site.route("/", callback=boom)
    app = SessionContextMiddleware(site)
    with asking(app) as ask, pytest.raises(LookupError, match=r"^as it was$") as caught:
        ask("/", S1)
    carried = ids_of_error(caught.value)
    assert carried is not None
    assert carried.session_id == "s1"
