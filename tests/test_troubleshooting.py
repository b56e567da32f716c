"""
The log and the events explain a refusal in the words of docs/troubleshooting.md.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from drive import ask_wsgi, environ_of
from idlanyard import Header, Policy, session_spec, subscribe, wsgi
from idlanyard._binding import carrier_proofs, carriers
from idlanyard._decision import reporting, resolve

PAGE = Path(__file__).parents[1].joinpath("docs", "troubleshooting.md").read_text(encoding="utf-8")
# The words of the log by the reason of the event.
ROWS = {
    reason: said for said, reason in re.findall(r"^\| `(.+?)` \| `(.+?)` \|", PAGE, re.MULTILINE)
}
MESSAGES = reporting._SENDER_WARNINGS | reporting._VALUE_WARNINGS
FILLED = {
    "alias": "X_User_ID",
    "charset": "...",
    "cure": "send X-User-ID",
    "header": "X-User-ID",
    "length": "255",
    "peer": "10.0.0.6",
    "secret": "X-Proxy-Secret",
    "server": "Environ('REMOTE_USER')",
    "spec": "user_spec",
    "verified": "X-Signed-User",
}


def test_every_reason_stands_on_the_page() -> None:
    """
    The page has a row for each reason that a request's ID can be refused for, and no other.
    """
    assert ROWS.keys() == MESSAGES.keys() | {resolve.PARSE_FAILED, resolve.VERIFY_FAILED}


def test_the_page_shows_how_a_policy_explains_itself() -> None:
    """
    The page prints what the policy in its block says of itself.
    """
    shown = "".join(
        f"   {line}\n" for line in Policy(trusted_peers=["10.0.0.5"]).explain().splitlines()
    )
    assert f"   ```text\n{shown}   ```\n" in PAGE


@pytest.mark.parametrize("reason", MESSAGES)
def test_the_page_quotes_the_log(reason: str) -> None:
    """
    The quotation in a row is part of the warning that is logged for its reason.
    """
    assert ROWS[reason] in MESSAGES[reason].format(**FILLED)


def test_the_page_quotes_what_is_logged_about_jobs() -> None:
    """
    The page has a row for each warning about the IDs of a job or message that prove nothing.
    """
    quoted = re.findall(r"^\| `([^`]+)` \| [A-Z]", PAGE.partition("In a job or")[2], re.MULTILINE)
    own = carriers.UNPROVEN, carriers.LIKE_A_HEADER, carriers.EVERYBODYS
    logged = [*carrier_proofs._WARNINGS.values(), *own]
    assert [quote in said for quote, said in zip(quoted, logged, strict=True)] == [True] * 6


@pytest.mark.parametrize(
    ("option", "reason"),
    [("parse", resolve.PARSE_FAILED), ("verify", resolve.VERIFY_FAILED)],
)
def test_the_page_quotes_a_function_that_fails(
    option: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A function of a source that raises is logged, and reported to subscribers, as the page says.
    """

    def fail(line: str) -> str:
        raise LookupError

    functions: dict[str, Any] = {option: fail}
    source = Header("X-User-ID", **functions)
    policy = Policy(session=session_spec(sources=[source]), user=None)

    def serve(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    app = wsgi.SessionContextMiddleware(serve, policy)
    told: list[str | None] = []
    undo = subscribe("reject", lambda event: told.append(event.reason))
    with caplog.at_level(logging.ERROR, "idlanyard"):
        ask_wsgi(app, environ_of([("X-User-ID", "alice")]))
    undo()
    assert told == [reason]
    assert ROWS[reason] in caplog.text
