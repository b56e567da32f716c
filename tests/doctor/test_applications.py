"""
The doctor finds nothing wrong with right applications, and in each wrong one its own fault.
"""

from __future__ import annotations

import pytest

from doctor.observing import PATHS, findings, observed, verdicts
from idlanyard._doctor._checks._every import CHECKS
from idlanyard._doctor._checks._finding import INSTALL, RED
from idlanyard._doctor._report import Report

# Without a server.
UNSERVED = {"peer", "conflation", "access-lines", "error-lines", "framework-lines"}
MENDED = {
    "order",
    "policy",
    "mint",
    "read",
    "echo-200",
    "echo-404",
    "echo-405",
    "echo-500",
    "echo-stream",
    "spoofed-user",
    "duplicates",
}


@pytest.mark.parametrize("target", ["right:asgi", "right:wsgi", "right:create_app"])
def test_a_right_application_has_no_red_check(target: str) -> None:
    """
    Of an application that has ours outermost, no check is red, and only a server is missing.
    """
    found = verdicts(observed(target, *PATHS))
    assert found.get("red", []) == []
    assert set(found["not tried"]) == UNSERVED


@pytest.mark.parametrize(
    ("target", "red"),
    [
        pytest.param("plain", MENDED | {"echo-websocket", "aliases"}, id="FastAPI without ours"),
        pytest.param("plain_flask", MENDED, id="Flask without ours"),
        pytest.param("added", {"order", "echo-500"}, id="ours inside of the error handler"),
        pytest.param(
            "inside_cors", {"order", "echo-500", "exposure", "preflight"}, id="ours inside of CORS"
        ),
        pytest.param("unexposed", {"exposure", "preflight"}, id="a header that CORS does not know"),
        pytest.param("exposed", set(), id="a header that CORS knows"),
        pytest.param("believing", {"policy", "spoofed-user"}, id="everyone is trusted"),
        pytest.param("cached", {"caches"}, id="an echo that caches store"),
        pytest.param("doubled", {"order", "read", "doubled"}, id="a header of ours twice"),
        pytest.param("raising_inside", set(), id="an error that the server answers"),
    ],
)
def test_each_fault_is_found(target: str, red: set[str]) -> None:
    """
    An application with a fault is red in the checks that are about it, and in no other.
    """
    found = verdicts(observed(f"wrong:{target}", *PATHS, kind=_kind_of(target)))
    assert set(found.get("red", [])) == red


def test_an_application_without_the_middleware_has_no_policy() -> None:
    """
    The check of the policy says in words why there is none, and what to do.
    """
    finding = findings(observed("wrong:plain", *PATHS))["policy"]
    reason = "the application has no policy: no request reached the middleware of idlanyard"
    assert (finding.verdict, finding.seen, finding.write) == (RED, reason, INSTALL)


def _kind_of(target: str) -> str | None:
    return "factory" if target == "believing" else None


def test_a_variable_that_is_never_reset_is_found() -> None:
    """
    A context variable of the application that still has the ID after a WSGI request is named.
    """
    finding = findings(observed("wrong:leaving"))["context"]
    assert (finding.verdict, "last_session (in process)" in finding.seen) == (RED, True)


def test_an_error_without_a_response_is_no_fault() -> None:
    """
    A 500 that only the server can write is not applicable, with the reason.
    """
    finding = findings(observed("wrong:raising_inside", "/boom"))["echo-500"]
    assert finding.verdict == "not applicable"
    assert "/boom raised an error and no response was begun" in finding.seen


@pytest.mark.parametrize(
    ("target", "line"),
    [("plain", "install(app)"), ("plain_flask", "IDLanyard(app)"), ("right:asgi", "")],
)
def test_the_last_lines_mend_it(target: str, line: str) -> None:
    """
    An application without ours is shown the lines of its framework, and any other none.
    """
    name = target if ":" in target else f"wrong:{target}"
    report = Report(name, observed(name), [])
    assert "".join(report.mending[-1:]) == line


def test_every_check_has_a_name_of_its_own() -> None:
    """
    The names of ``--only`` are unique.
    """
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
