"""
The sources that an ID is read from.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import Cookie, Header, PathPrefix, PolicyError, Query, Subdomain
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._decision.protocols import ASGIRequest, WSGIRequest
from idlanyard._policy.request import Request
from idlanyard._policy.sources import read_amzn_root, read_trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"


def request(path: str = "/", query: str = "", **headers: str | list[str]) -> ASGIRequest:
    """
    Return the view of an ASGI request.
    """
    lines = [
        (name.encode(), value.encode("latin-1"))
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    scope = {"path": path, "query_string": query.encode("latin-1"), "headers": lines}
    return ASGIRequest(scope, DEFAULT_POLICY)


@pytest.mark.parametrize(
    ("parse", "line", "id"),
    [
        pytest.param(read_trace_id, f"00-{TRACE}-b7ad6b7169203331-01", TRACE, id="version 0"),
        pytest.param(
            read_trace_id, f"01-{TRACE}-b7ad6b7169203331-01-more", TRACE, id="a later version"
        ),
        pytest.param(
            read_trace_id, f"00-{TRACE}-b7ad6b7169203331-01-more", None, id="version 0, longer"
        ),
        pytest.param(read_trace_id, f"ff-{TRACE}-b7ad6b7169203331-01", None, id="version ff"),
        pytest.param(read_trace_id, f"00-{'0' * 32}-b7ad6b7169203331-01", None, id="no trace"),
        pytest.param(read_trace_id, f"00-{TRACE}-{'0' * 16}-01", None, id="no parent"),
        pytest.param(
            read_trace_id, f"00-{TRACE.upper()}-b7ad6b7169203331-01", None, id="upper case"
        ),
        pytest.param(read_trace_id, "", None, id="empty"),
        pytest.param(
            read_amzn_root,
            "Root=1-67891233-abcdef012345678912345678;Sampled=1",
            "1-67891233-abcdef012345678912345678",
            id="first",
        ),
        pytest.param(
            read_amzn_root,
            "Self=1-2-3; Root=1-67891233-abcdef012345678912345678",
            "1-67891233-abcdef012345678912345678",
            id="behind another",
        ),
        pytest.param(read_amzn_root, "Root=1-6789", None, id="cut short"),
        pytest.param(
            read_amzn_root, "xRoot=1-67891233-abcdef012345678912345678", None, id="not it"
        ),
    ],
)
def test_the_presets_read_their_headers(parse: Any, line: str, id: str | None) -> None:
    """
    W3C Trace Context and X-Amzn-Trace-Id: the ID is read from a line that is well formed.
    """
    assert parse(line) == id


def test_the_presets_are_headers() -> None:
    """
    The presets are Headers with a parse function.
    """
    assert Header.traceparent() == Header("traceparent", parse=read_trace_id)
    assert Header.amzn_trace_id() == Header("X-Amzn-Trace-Id", parse=read_amzn_root)


@pytest.mark.parametrize(
    ("source", "asked", "found"),
    [
        pytest.param(Cookie("sid"), request(cookie="a=1; sid=s1; b=2"), ["s1"], id="cookie"),
        pytest.param(Cookie("sid"), request(cookie="sid=s1; sid=s2"), ["s1", "s2"], id="twice"),
        pytest.param(Cookie("sid"), request(cookie=["a=1", "sid=s1"]), ["s1"], id="two lines"),
        pytest.param(Cookie("sid"), request(cookie="sid; xsid=1; SID=2"), [], id="not it"),
        pytest.param(Cookie("sid"), request(cookie="sid=a=b"), ["a=b"], id="an equals sign inside"),
        pytest.param(Query("s"), request(query="a=1&s=s%201"), ["s 1"], id="query"),
        pytest.param(Query("s"), request(query="s=1&s=2"), ["1", "2"], id="parameter twice"),
        pytest.param(Query("s"), request(query="&".join(["s=1"] * 1001)), [], id="too many"),
        pytest.param(
            Subdomain("app.example"), request(host="acme.app.example"), ["acme"], id="host"
        ),
        pytest.param(
            Subdomain(".App.Example."),
            request(host="ACME.app.example.:8080"),
            ["acme"],
            id="spelled",
        ),
        pytest.param(Subdomain("app.example"), request(host="app.example"), [], id="the base"),
        pytest.param(
            Subdomain("app.example"), request(host="a.b.app.example"), [], id="two labels"
        ),
        pytest.param(Subdomain("app.example"), request(host="evilapp.example"), [], id="no label"),
        pytest.param(
            Subdomain("app.example"), request(host="-.app.example"), [], id="no host name"
        ),
        pytest.param(
            Subdomain("app.example"),
            request(host=["a.app.example", "b.app.example"]),
            ["a", "b"],
            id="two hosts",
        ),
        pytest.param(
            Subdomain("app.example"), request(host=["a.app.example", "evil"]), [], id="one other"
        ),
        pytest.param(PathPrefix("/t/{tenant_id}"), request("/t/acme/x"), ["acme"], id="path"),
        pytest.param(
            PathPrefix("/t/{tenant_id}/"), request("/t/acme"), ["acme"], id="a slash last"
        ),
        pytest.param(PathPrefix("/{t}/api"), request("/acme/api/x"), ["acme"], id="first segment"),
        pytest.param(PathPrefix("/{t}/api"), request("/acme/other"), [], id="another path"),
        pytest.param(PathPrefix("/t/{tenant_id}"), request("/t"), [], id="too short"),
    ],
)
def test_other_sources_say_every_value(source: Any, asked: Request, found: list[str]) -> None:
    """
    S4, S5: a source returns every value it finds, so that two are never taken for one.
    """
    assert source.read(asked) == found


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(lambda: Header("X Session"), "is no header name", id="space"),
        pytest.param(lambda: Header(None), "is no header name", id="None"),  # type: ignore[arg-type]
        pytest.param(lambda: Header("a-" * 9 + "a"), "too many ways", id="many hyphens"),
        pytest.param(lambda: Header("X-A", parse="x"), "takes a function", id="parse"),  # type: ignore[arg-type]
        pytest.param(lambda: Cookie("a b"), "is no cookie name", id="cookie"),
        pytest.param(lambda: Cookie(1), "is no cookie name", id="cookie number"),  # type: ignore[arg-type]
        pytest.param(lambda: Query(""), "has no name", id="query"),
        pytest.param(lambda: Subdomain("not a domain"), "is no domain", id="subdomain"),
        pytest.param(lambda: Subdomain(1), "is no domain", id="subdomain number"),  # type: ignore[arg-type]
        pytest.param(lambda: PathPrefix("/t/x"), "needs one segment in braces", id="no braces"),
        pytest.param(lambda: PathPrefix("/{a}/{b}"), "needs one segment", id="two braces"),
        pytest.param(lambda: PathPrefix("t/{a}"), "needs one segment", id="no slash"),
        pytest.param(lambda: PathPrefix(1), "needs one segment", id="path number"),  # type: ignore[arg-type]
    ],
)
def test_a_source_that_cannot_be_is_refused(make: Any, sentence: str) -> None:
    """
    R14: a wrong source raises when it is built, and says what to write.
    """
    with pytest.raises(PolicyError, match=sentence):
        make()


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.text(max_size=60))
def test_hostile_requests_never_raise(line: str, path: str) -> None:
    """
    S29: no cookie, query, host or path makes reading it raise.
    """
    asked = request(path, line, cookie=line, host=line)
    for source in (Cookie("a"), Query("a"), Subdomain("a.b"), PathPrefix("/{x}")):
        assert all(isinstance(value, str) for value in source.read(asked))
    read_trace_id(line)
    read_amzn_root(line)


def test_the_view_of_a_request_reads_like_a_mapping() -> None:
    """
    The view of a request has headers by name in any case, path and peer.
    """
    environ = {
        "HTTP_X_A": "1",
        "CONTENT_TYPE": "text/plain",
        "wsgi.version": (1, 0),
        "PATH_INFO": "/p",
        "REMOTE_ADDR": "10.0.0.5",
    }
    view = WSGIRequest(environ, DEFAULT_POLICY)
    assert dict(view.headers) == {"x-a": "1", "content-type": "text/plain"}
    assert (view.headers["X-A"], len(view.headers), view.path) == ("1", 2, "/p")
    assert (view.peer, view.query, view.environ) == ("10.0.0.5", "", environ)
    asked = request("/p", x=["1", "2"])
    assert (asked.headers["X"], asked.path, asked.peer) == ("1, 2", "/p", None)
    assert asked.headers.lines("y") == []


def test_a_view_must_say_everything() -> None:
    """
    A view of another protocol has headers, path, query and peer, or cannot be made.
    """
    with pytest.raises(TypeError, match="abstract"):
        Request()  # type: ignore[abstract]
