"""
The benchmark of the frameworks runs, and every candidate does its work.

Django takes its settings once a process, so all this happens in one of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

SESSION = "3f2a9c04-6d1e-4b7a-8c55-0e9d2f61a7b3"
IDS = {
    "X-Session-ID": SESSION,
    "X-User-ID": "9b1c7e52-0f3d-4a86-b2e4-5d7f8a90c1e6",
    "X-Tenant-ID": "c4d8e6f0-1a2b-4c3d-9e5f-6a7b8c9d0e1f",
}
ECHOED = {
    "Django": {
        "bare": {},
        "floor": IDS,
        "idlanyard": IDS,
        "django-guid": {"X-Session-ID": SESSION},
        "django-log-request-id": {"X-Session-ID": SESSION},
    },
    "Flask": {"bare": {}, "floor": IDS, "idlanyard": IDS, "hooks recipe": IDS},
}
CANDIDATES = [(framework, name) for framework in ECHOED for name in ECHOED[framework]]

Answers = dict[str, dict[str, dict[str, Any]]]


def answer(handler: Any, path: str) -> dict[str, Any]:
    """
    Return what one candidate answers to one request.
    """
    import frameworks

    started: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        started.extend([status, dict(headers)])

    body = handler(frameworks.environ(path, 14), start_response)
    text = b"".join(body).decode()
    body.close()
    echo = {name: value for name, value in started[1].items() if name.endswith("-ID")}
    return {"status": started[0], "body": text, "echo": echo}


def answers() -> dict[str, Answers]:
    """
    Return what each candidate answers, by path, framework and name; one path after the other.
    """
    import framework_candidates

    frameworks = {
        "Django": framework_candidates.django_handlers(),
        "Flask": framework_candidates.flask_handlers(),
    }
    return {
        path: {
            framework: {name: answer(handler, path) for name, handler in handlers.items()}
            for framework, handlers in frameworks.items()
        }
        for path in ("trusted", "mint")
    }


def run(script: str | Path, *arguments: str) -> str:
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def answered() -> dict[str, Answers]:
    """
    The answers of one process.
    """
    found: dict[str, Answers] = json.loads(run(__file__))
    return found


@pytest.mark.parametrize(("framework", "name"), CANDIDATES)
def test_a_candidate_does_its_work(answered: dict[str, Answers], framework: str, name: str) -> None:
    """
    Every candidate answers as the bare application does, and echoes the IDs it reads (R9).
    """
    found = answered["trusted"][framework][name]
    assert found == {"status": "200 OK", "body": "hi", "echo": ECHOED[framework][name]}


@pytest.mark.parametrize(("framework", "name"), CANDIDATES)
def test_a_candidate_mints(answered: dict[str, Answers], framework: str, name: str) -> None:
    """
    Every candidate mints a session for a request without one, and the last request's is gone (R15).
    """
    echo = answered["mint"][framework][name]["echo"]
    assert set(echo) == ({"X-Session-ID"} if name != "bare" else set())
    assert all(value != SESSION and len(value) == 32 for value in echo.values())


def test_every_candidate_is_tested(answered: dict[str, Answers]) -> None:
    """
    Nothing is measured of which nothing is said here.
    """
    for found in answered.values():
        names = [(framework, name) for framework in found for name in found[framework]]
        assert names == CANDIDATES


def test_the_script_runs() -> None:
    """
    The figures are ratios to each candidate of both paths, and P8's are held against its targets.
    """
    rows = [
        line.strip("| ").split(" | ")
        for line in run(BENCHMARKS / "frameworks.py", "--quick").splitlines()[2:]
    ]
    figures = {row[0]: row[1:] for row in rows}
    assert set(figures) == {
        f"P8 {framework} {path} / {name}"
        for framework, name in CANDIDATES
        for path in ("mint", "session")
        if name not in ("bare", "idlanyard")
    }
    judged = {figure for figure, row in figures.items() if row[-1] in ("yes", "no")}
    assert judged == {figure for figure in figures if not figure.endswith("floor")}


if __name__ == "__main__":
    print(json.dumps(answers()))
