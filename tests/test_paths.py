"""
The paths of ``exclude``.
"""

from __future__ import annotations

from typing import Any

import pytest

from drive import ask_asgi_at_once, ask_wsgi, environ_of, http_scope
from idlanyard import Policy, PolicyError, get_session_id
from idlanyard import asgi as asgi_door
from idlanyard import wsgi as wsgi_door
from idlanyard._decision.plan import compile_policy
from idlanyard._decision.protocols import ASGI, WSGI
from idlanyard._decision.resolve import resolve
from idlanyard._policy.policy import checked_policy


@pytest.mark.parametrize(
    ("entry", "path", "is_left_out"),
    [
        pytest.param("/health", "/health", True, id="exact"),
        pytest.param("/health", "/health/", False, id="a slash more"),
        pytest.param("/health", "/healthy", False, id="a letter more"),
        pytest.param("/health", "/HEALTH", False, id="another case"),
        pytest.param("/static/*", "/static/x", True, id="below"),
        pytest.param("/static/*", "/static/x/y", True, id="deep below"),
        pytest.param("/static/*", "/static/", True, id="the prefix"),
        pytest.param("/static/*", "/static", False, id="without its slash"),
        pytest.param("/static/*", "/staticx", False, id="a longer word"),
        pytest.param("/static/*", "/a/static/x", False, id="elsewhere"),
        pytest.param("/*", "/", True, id="everything"),
        pytest.param("/$metadata", "/$metadata", True, id="a dollar first"),
        pytest.param("/a.b(c)", "/a.b(c)", True, id="dots and parentheses"),
    ],
)
def test_a_path_is_left_out_as_it_is_written(entry: str, path: str, is_left_out: bool) -> None:
    """
    Exclude has exact paths, and prefixes that end with a slash and a star.
    """
    policy = Policy(exclude=["/other", entry])
    assert (path in checked_policy(policy).exclude) is is_left_out
    seen: list[bool] = []

    async def asgi(scope: object, receive: object, send: object) -> None:
        seen.append(get_session_id() is None)

    def wsgi(environ: object, start_response: object) -> list[bytes]:
        seen.append(get_session_id() is None)
        start_response("200 OK", [])  # type: ignore[operator]
        return []

    ask_asgi_at_once(asgi_door.SessionContextMiddleware(asgi, policy), http_scope(path=path))
    ask_wsgi(wsgi_door.SessionContextMiddleware(wsgi, policy), environ_of(PATH_INFO=path))
    assert seen == [is_left_out, is_left_out]


@pytest.mark.parametrize(
    "entry",
    [
        *("*", "/static*", "/static/**", "/*/health", "/health.*", "/a/*/", "/a?b", "/{id}"),
        *(
            "/a/{id}",
            "/a/<id>",
            "/a/<int:id>",
            "/a/:id",
            "/a/[id]",
            "^/a",
            "/a$",
            r"/a/\\d",
            "/a|b",
        ),
        *("/a%20b", "/a#b", "a", "", "http://a/b", "/(?P<a>b)", "/a.+"),
    ],
)
def test_what_matches_no_path_is_refused(entry: str) -> None:
    """
    R14: an entry that would never match, or matches elsewhere, is refused when built.
    """
    with pytest.raises(PolicyError, match=r"exclude has .*write '/"):
        Policy(exclude=[entry])


@pytest.mark.parametrize(
    ("sent", "bound"),
    [
        pytest.param("/größe".encode(), False, id="excluded"),
        pytest.param("/日本".encode(), False, id="excluded, of wider letters"),
        pytest.param("/grösse".encode(), True, id="another"),
        pytest.param(b"/gr\xf6\xdfe", True, id="no UTF-8"),
    ],
)
def test_letters_of_a_path_are_the_same_on_both_protocols(sent: bytes, bound: bool) -> None:
    """
    A path is compared as decoded text, over ASGI and over WSGI.
    """
    policy = Policy(exclude=["/größe", "/日本"])
    raws: list[tuple[Any, Any]] = [
        (ASGI, http_scope(path=sent.decode("utf-8", "replace"))),
        (WSGI, environ_of(PATH_INFO=sent.decode("latin-1"))),
    ]
    for dialect, raw in raws:
        scope, *_ = resolve(compile_policy(policy, dialect), [], raw)
        assert (scope.look_up("session_id")[0] is not None) is bound
