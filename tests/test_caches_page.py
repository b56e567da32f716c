"""
What the page on caches says is so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from drive import ask_wsgi, environ_of, values_of
from idlanyard import Policy, request_spec, session_spec, wsgi
from idlanyard._decision.caches import STORED_STATUSES

PAGE = Path(__file__).parents[1].joinpath("docs", "caches.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`\d{3}`.*?) \| (yes|no) \| (.*?) ?\|$", PAGE, re.MULTILINE)
IDS = [("X-Session-ID", "s1"), ("X-Request-ID", "r1")]


def respond(status: str, headers: list[tuple[str, str]], policy: Policy | None = None) -> Any:
    """
    Return the header lines that a response to GET ends with.
    """

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response(f"{status} Said", headers)
        return []

    return ask_wsgi(wsgi.SessionContextMiddleware(app, policy), environ_of(IDS)).headers


@pytest.mark.parametrize(("response", "ids", "control"), ROWS)
def test_each_row_of_the_table_is_so(response: str, ids: str, control: str) -> None:
    """
    A response of the page's table has IDs, and says to caches, what its row says.
    """
    status, *headers = re.findall(r"`([^`]+)`", response)
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in headers)]
    said = respond(status, pairs)
    assert values_of(said, "X-Session-ID") == (["s1"] if ids == "yes" else [])
    assert values_of(said, "Cache-Control") == re.findall(r"`([^`]+)`", control)


def test_the_table_is_read_whole() -> None:
    """
    The table has a row for each of the three cases, and none that is not tried.
    """
    assert len(ROWS) == len(re.findall(r"^\| `\d{3}`", PAGE, re.MULTILINE)) == 16


def test_the_page_names_the_statuses() -> None:
    """
    The statuses that count as stored by themselves are those that the page names.
    """
    sentence = re.search(r"- Stored by themselves.*?\n- ", PAGE, re.DOTALL)
    assert sentence is not None
    named = {int(code) for code in re.findall(r"\b[2-5]\d\d\b", sentence[0])}
    assert named == STORED_STATUSES


@pytest.mark.parametrize(
    "name", ["CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control"]
)
def test_the_headers_for_cdns_that_the_page_names_count(name: str) -> None:
    """
    A header for CDNs alone that allows storing keeps the IDs away.
    """
    assert name in PAGE
    said = respond("200", [("Cache-Control", "no-store"), (name, "max-age=60")])
    assert values_of(said, "X-Session-ID") == []


def test_the_options_of_the_page_do_what_it_says() -> None:
    """
    The options that the page shows together do what its table says of each.
    """
    policy = Policy(
        mark_private=False,
        session=session_spec(echo="unless set"),
        extra=[request_spec(echo="always")],
    )
    silent = respond("200", [], policy)
    assert [(name, value) for name, value in silent] == [("X-Request-ID", "r1")]
    assert values_of(respond("304", [], policy), "X-Request-ID") == ["r1"]
    own = [("X-Session-ID", "app"), ("Cache-Control", "no-store")]
    assert values_of(respond("200", own, policy), "X-Session-ID") == ["app"]
    assert values_of(respond("200", own[1:], policy), "X-Session-ID") == ["s1"]
    silent = respond("200", [], Policy(session=session_spec(echo=False)))
    assert silent == []
