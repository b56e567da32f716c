"""
Asks applications with a session cookie, on both protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import pytest

from drive import (
    Line,
    ask_asgi,
    ask_asgi_at_once,
    ask_wsgi,
    environ_of,
    http_scope,
    pairs_of,
    values_of,
)
from idlanyard import Policy, Provenance, asgi, get_session_context, session_spec, wsgi
from idlanyard._decision.session_cookie import ATTRIBUTES
from idlanyard._policy.keys import Signatures

KEY, OLD = "n" * 32, "o" * 32
NAME = "__Host-session"
SPEC = session_spec(signed=[KEY], cookie=NAME)
POLICY = Policy(session=SPEC)
DELETED = f"{NAME}=; {ATTRIBUTES}; Max-Age=0"


def signed(value: str, key: str = KEY) -> str:
    """
    Return a session as the service mints it.
    """
    return Signatures("session_id", [key.encode()]).sign(value)


OURS, OTHER = signed("s1"), signed("s2")


class Answer(NamedTuple):
    """
    The answer to one request.

    Attributes:
        session: the session in force when the application returned.
        how: its provenance.
        headers: the headers of the response.
    """

    session: str | None
    how: Provenance | None
    headers: list[Line]

    @property
    def cookies(self) -> list[str]:
        """
        Return every ``Set-Cookie`` line.
        """
        return values_of(self.headers, "set-cookie")


Act: TypeAlias = Callable[[], object]


def by_asgi(
    lines: Iterable[Line] = (),
    act: Act = get_session_context,
    *,
    policy: Policy = POLICY,
    status: int = 200,
    headers: Iterable[Line] = (),
    method: str = "GET",
) -> Answer:
    """
    Return the answer of an ASGI application to one request.
    """
    seen: list[Any] = [None, None]
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        act()
        context = get_session_context()
        seen[:] = context.session_id, context.provenance("session_id")
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body"})

    door = asgi.SessionContextMiddleware(app, policy)
    # Where the session is asked about, something waits.
    ask = ask_asgi_at_once if policy.admission is None else ask_asgi
    start, _ = ask(door, http_scope(lines, method=method))
    return Answer(seen[0], seen[1], pairs_of(start))


def by_wsgi(
    lines: Iterable[Line] = (),
    act: Act = get_session_context,
    *,
    policy: Policy = POLICY,
    status: int = 200,
    headers: Iterable[Line] = (),
    method: str = "GET",
) -> Answer:
    """
    Return the answer of a WSGI application to one request.
    """
    seen: list[Any] = [None, None]

    def app(environ: Any, start_response: Any) -> list[bytes]:
        act()
        context = get_session_context()
        seen[:] = context.session_id, context.provenance("session_id")
        start_response(f"{status} Said", [*headers])
        return []

    door = wsgi.SessionContextMiddleware(app, policy)
    response = ask_wsgi(door, environ_of(lines, REQUEST_METHOD=method))
    return Answer(seen[0], seen[1], response.headers)


Serve: TypeAlias = Callable[..., Answer]
BOTH = pytest.mark.parametrize("serve", [by_asgi, by_wsgi], ids=["asgi", "wsgi"])


def cookie(session: str, name: str = NAME) -> Line:
    """
    Return the header by which a browser sends a cookie.
    """
    return "Cookie", f"{name}={session}"


def set_line(session: str | None) -> str:
    """
    Return the line that sets the cookie.
    """
    return f"{NAME}={session}; {ATTRIBUTES}"
