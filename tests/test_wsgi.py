"""
The WSGI middleware: bodies of every kind, ``start_response`` in every way.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from werkzeug.middleware.lint import LintMiddleware

from drive import Server, ask_wsgi, environ_of, values_of
from idlanyard import UNSET, get_session_context, get_session_id, identify, set_session_context
from idlanyard._binding.state import ids_of_error
from idlanyard.wsgi import KEY, SessionContextMiddleware

S1 = (("X-Session-ID", "s1"),)


def _early(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def _late(environ: Any, start_response: Any) -> Generator[bytes, None, None]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"o"
    yield b"k"


def _twice(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    try:
        environ["lost"]
    except KeyError:
        start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"ok"]


def _writing(environ: Any, start_response: Any) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"o")
    return [b"k"]


APPS = [
    pytest.param(_early, "200 OK", id="early"),
    pytest.param(_late, "200 OK", id="late, in a generator"),
    pytest.param(_twice, "500 Oops", id="twice, with exc_info"),
    pytest.param(_writing, "200 OK", id="legacy write"),
]


@pytest.mark.parametrize(("app", "status"), APPS)
def test_the_echo_stands_once_however_the_response_starts(app: Any, status: str) -> None:
    """
    Each way of calling ``start_response`` sends the app's headers and one echo (R9).
    """
    response = ask_wsgi(SessionContextMiddleware(app), environ_of(S1))
    assert response.status == status
    private = [("Cache-Control", "private")] if status == "200 OK" else []
    assert response.headers == [("Content-Type", "text/plain"), ("X-Session-ID", "s1"), *private]
    assert response.body == b"ok"


def test_exc_info_reaches_the_server_and_only_where_given() -> None:
    """
    ``exc_info`` is passed on, and no third argument if the app gave none (PEP 3333).
    """
    calls: list[tuple[Any, ...]] = []

    def start_response(*call: Any) -> Callable[[bytes], object]:
        calls.append(call)
        return bytes

    SessionContextMiddleware(_twice)(environ_of(), start_response)
    assert [len(call) for call in calls] == [2, 3]
    assert calls[1][2][0] is KeyError


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        pytest.param(validator, validator, id="wsgiref in wsgiref"),
        pytest.param(LintMiddleware, validator, id="werkzeug in wsgiref"),
        pytest.param(LintMiddleware, LintMiddleware, id="werkzeug in werkzeug"),
    ],
)
@pytest.mark.parametrize(("app", "status"), APPS)
def test_both_validators_are_content(app: Any, status: str, inside: Any, outside: Any) -> None:
    """
    Neither side of the middleware breaks PEP 3333 in the eyes of wsgiref and werkzeug (R4).
    """
    stack = outside(SessionContextMiddleware(inside(app)))
    environ = environ_of(S1, HTTP_HOST="h")
    response = ask_wsgi(stack, environ)
    assert (response.status, response.body) == (status, b"ok")
    assert values_of(response.headers, "X-Session-ID") == ["s1"]


class Wrapper:
    """
    A server's ``wsgi.file_wrapper``.
    """

    def __init__(self, file: Any, size: int = 8192) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


class OddList(list[bytes]):
    """
    A list that may do anything when it is iterated.
    """


@pytest.mark.parametrize(
    ("body", "more", "whole"),
    [
        pytest.param([b"ok"], {}, True, id="a list"),
        pytest.param((b"ok",), {}, True, id="a tuple"),
        pytest.param([], {}, True, id="an empty list"),
        pytest.param(
            Wrapper(io.BytesIO(b"ok")), {"wsgi.file_wrapper": Wrapper}, True, id="a file wrapper"
        ),
        pytest.param(
            io.BytesIO(b"ok"),
            {"wsgi.file_wrapper": lambda file, size=8192: file},
            True,
            id="a file, of a wrapper that is a function",
        ),
        pytest.param(OddList([b"ok"]), {}, False, id="a subclass of list"),
        pytest.param(Wrapper(io.BytesIO(b"ok")), {}, False, id="another's file wrapper"),
        pytest.param(
            io.BytesIO(b"ok"), {"wsgi.file_wrapper": Wrapper}, False, id="a file of the app's"
        ),
        pytest.param(io.BytesIO(b"ok"), {}, False, id="a file, no wrapper offered"),
        pytest.param(iter([b"ok"]), {}, False, id="an iterator"),
        pytest.param({b"ok": 1}, {}, False, id="a mapping"),
        pytest.param(
            iter([b"ok"]),
            {"wsgi.file_wrapper": lambda file, size=8192: file},
            False,
            id="no file, a wrapper that is a function",
        ),
    ],
)
def test_only_whole_bodies_are_returned_as_they_are(
    body: Any, more: dict[str, Any], whole: bool
) -> None:
    """
    Exact lists, tuples and the server's own file come back untouched, others wrapped (R4).
    """

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    environ = environ_of(S1, **more)
    returned = SessionContextMiddleware(app)(environ, Server().start_response)
    assert (returned is body) is whole
    # A whole body ends the request, another one when it is exhausted.
    assert environ[KEY].open is not whole
    if not whole:
        assert list(returned) == [b"ok"]
        assert not environ[KEY].open


class Body:
    """
    A body that notes the current IDs in each of its steps.
    """

    def __init__(self, chunks: int = 2) -> None:
        self.left = chunks
        self.seen: list[str | None] = []
        self.closed: list[str | None] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.seen.append(get_session_id())
        if not self.left:
            raise StopIteration
        self.left -= 1
        return b"x"

    def close(self) -> None:
        self.closed.append(get_session_id())


def _streaming(body: Any) -> SessionContextMiddleware:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    return SessionContextMiddleware(app)


def test_a_streamed_body_is_bound_in_its_steps_and_nowhere_between() -> None:
    """
    Each step and ``close`` see the request's IDs, the server sees none (R4, S28).
    """
    body = Body()
    stream: Any = _streaming(body)(environ_of(S1), Server().start_response)
    between = []
    for _ in stream:
        between.append(get_session_id())
    stream.close()
    assert body.seen == ["s1"] * 3
    assert body.closed == ["s1"]
    assert between == [None, None]
    assert get_session_context().is_empty()


@pytest.mark.parametrize("read", [pytest.param(0, id="unread"), pytest.param(1, id="half-read")])
@pytest.mark.parametrize(
    "closing", [pytest.param(True, id="closed"), pytest.param(False, id="never closed")]
)
def test_an_abandoned_body_leaves_nothing_behind(read: int, closing: bool) -> None:
    """
    A body that is not read to its end binds nothing for the next request (R4, S28).
    """
    body = Body()
    stream: Any = _streaming(body)(environ_of(S1), Server().start_response)
    for _ in range(read):
        next(stream)
    if closing:
        stream.close()
    assert get_session_context().is_empty()
    assert body.closed == (["s1"] if closing else [])
    fresh = values_of(ask_wsgi(_streaming([]), environ_of()).headers, "X-Session-ID")
    assert fresh != ["s1"]


def test_a_body_may_be_closed_by_another_thread() -> None:
    """
    Steps and ``close`` in another thread are bound there and clean up there (R4, S28).
    """
    body = Body()
    stream: Any = _streaming(body)(environ_of(S1), Server().start_response)
    next(stream)
    after: list[Any] = []

    def finish() -> None:
        next(stream)
        stream.close()
        after.append(get_session_id())

    thread = threading.Thread(target=finish)
    thread.start()
    thread.join()
    assert (body.seen, body.closed, after) == (["s1", "s1"], ["s1"], [None])


def test_a_body_without_close_is_closed_all_the_same() -> None:
    """
    R4: ``close`` of the wrapper ends the request even if the body has no ``close``.
    """
    environ = environ_of(S1)
    stream: Any = _streaming(iter([b"x"]))(environ, Server().start_response)
    stream.close()
    assert not environ[KEY].open


def test_what_a_step_binds_is_bound_in_the_next() -> None:
    """
    A generator app that binds for itself in one step still has it in the next (R4).
    """
    seen: list[str | None] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        set_session_context(user_id="u1")
        yield b"a"
        seen.append(get_session_context().user_id)
        yield b"b"

    stream = SessionContextMiddleware(app)(environ_of(S1), Server().start_response)
    between = [get_session_context().user_id for _ in stream]
    assert seen == ["u1"]
    assert between == [None, None]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("call", id="in the call"),
        pytest.param("step", id="in a step"),
        pytest.param("close", id="in close"),
    ],
)
def test_an_exception_unbinds_and_carries_a_snapshot(where: str) -> None:
    """
    An exception from the call, a step or ``close`` leaves nothing bound and tells its IDs (R4).
    """
    error = LookupError("lost")

    class Failing(Body):
        def __next__(self) -> bytes:
            if where == "step":
                raise error
            return super().__next__()

        def close(self) -> None:
            raise error

    def app(environ: Any, start_response: Any) -> Any:
        if where == "call":
            raise error
        start_response("200 OK", [])
        return Failing()

    environ = environ_of(S1)
    for session in ("s1", "s2"):
        environ["HTTP_X_SESSION_ID"] = session
        with pytest.raises(LookupError) as caught:
            ask_wsgi(SessionContextMiddleware(app), environ)
        context = ids_of_error(caught.value)
        assert context is not None
        assert context.session_id == session
        assert get_session_context().is_empty()
        assert not environ[KEY].open
    assert error.args == ("lost",)
    assert not hasattr(error, "__notes__")


def test_the_environ_is_changed_for_good() -> None:
    """
    A removed header stays out of the environ, so that a late reader finds no spoof.
    """
    environ = environ_of([*S1, ("X-User-ID", "mallory")])
    seen: list[Any] = []

    def app(inner: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(inner)
        start_response("200 OK", [])
        return []

    ask_wsgi(SessionContextMiddleware(app), environ)
    assert seen[0] is environ
    assert "HTTP_X_USER_ID" not in environ
    assert environ["HTTP_X_SESSION_ID"] == "s1"


def _published(environ: dict[str, Any]) -> dict[str, Any]:
    prefix = "idlanyard."
    keys = [key for key in environ if key.startswith(prefix) and key != KEY]
    return {key.removeprefix(prefix): environ[key] for key in keys}


def test_access_logs_read_the_environ() -> None:
    """
    ``environ["idlanyard.session_id"]`` and so on are there, and none of an earlier request's.
    """
    environ = environ_of(S1) | {"idlanyard.user_id": "of an earlier request"}
    ask_wsgi(_streaming([]), environ)
    assert _published(environ) == {"session_id": "s1"}


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("before", id="before the response starts"),
        pytest.param("after", id="after it has started"),
        pytest.param("stream", id="while the body streams"),
    ],
)
def test_access_logs_read_who_was_identified(when: str) -> None:
    """
    R2: the environ keys follow ``identify``, also late; the header is fixed at the start.
    """

    def whole(environ: Any, start_response: Any) -> Iterable[bytes]:
        if when == "before":
            identify(user_id="alice")
        start_response("200 OK", [])
        identify(user_id="alice")
        return [b""]

    def streamed(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"a"
        identify(user_id="alice", session_id=UNSET)

    environ = environ_of(S1)
    app = streamed if when == "stream" else whole
    response = ask_wsgi(SessionContextMiddleware(app), environ)
    assert values_of(response.headers, "X-User-ID") == (["alice"] if when == "before" else [])
    session = {} if when == "stream" else {"session_id": "s1"}
    assert _published(environ) == session | {"user_id": "alice"}


def test_an_echo_that_fails_leaves_the_response_alone() -> None:
    """
    A status that is no number costs the echo, never the response (R14).
    """
    headers = [("Content-Type", "text/plain")]

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("fine", headers)
        return []

    assert ask_wsgi(SessionContextMiddleware(app), environ_of()).headers is headers


def test_headers_that_are_read_once_reach_the_server() -> None:
    """
    An application may pass any iterable of headers, as some servers take it.
    """

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        lines = [("Content-Type", "text/plain"), ("Cache-Control", "no-store")]
        start_response("200 OK", iter(lines))
        return [b"x"]

    response = ask_wsgi(SessionContextMiddleware(app), environ_of([("X-Session-ID", "s1")]))
    assert values_of(response.headers, "Cache-Control") == ["no-store"]
    assert values_of(response.headers, "X-Session-ID") == ["s1"]


def test_the_list_of_the_app_is_left_as_it_is() -> None:
    """
    The header list that an app passes to ``start_response`` is never changed.
    """
    headers = [("Content-Type", "text/plain")]

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return []

    ask_wsgi(SessionContextMiddleware(app), environ_of())
    assert headers == [("Content-Type", "text/plain")]


def test_a_policy_of_another_type_is_refused() -> None:
    """
    R14: anything but a ``Policy`` is refused with a sentence that names the type.
    """
    with pytest.raises(TypeError, match="write Policy"):
        SessionContextMiddleware(_early, {"trusted_peers": []})  # type: ignore[arg-type]
