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

SESSION = "0f8b6c3e9d2a4b7c8e1f5a6d7b8c9e0f"
IDS = {"X-Session-ID": SESSION, "X-User-ID": "user-184467", "X-Tenant-ID": "acme.eu-west-1"}
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

PAGES = {
    "Django": ["page", "form", "never_cache"],
    "Flask": ["page", "session", "file", "no-store"],
}
# What differs from request to request.
VARYING = {"Date", "ETag", "Expires", "Last-Modified", "Set-Cookie"}

Answers = dict[str, dict[str, dict[str, Any]]]
Lines = list[tuple[str, str]]


def ask(handler: Any, environ: dict[str, Any]) -> tuple[str, Lines, str]:
    """
    Return status, header lines and body of a response.
    """
    started: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        started.extend([status, headers])

    body = handler(environ, start_response)
    text = b"".join(body).decode()
    body.close()
    return started[0], started[1], text


def answer(handler: Any, path: str) -> dict[str, Any]:
    """
    Return what one candidate answers to one request.
    """
    import frameworks

    status, lines, text = ask(handler, frameworks.environ(path, "page"))
    echo = {name: value for name, value in lines if name.endswith("-ID")}
    return {"status": status, "body": text, "echo": echo}


def written(handler: Any, page: str) -> dict[str, Any]:
    """
    Return the header lines of a page, and the names of its cookies, in the order of names.
    """
    import frameworks

    environ = frameworks.environ("mint", page)
    # Django replaces a token that it has not made.
    del environ["HTTP_COOKIE"]
    _, lines, _ = ask(handler, environ)
    return {
        "headers": sorted((n, "" if n in VARYING else value) for n, value in lines),
        "cookies": sorted(value.partition("=")[0] for n, value in lines if n == "Set-Cookie"),
    }


def serve_django() -> Any:
    """
    Return a Django handler with the middlewares of a new project, and views that have no IDs.
    """
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.middleware.csrf import get_token
    from django.test import override_settings
    from django.urls import path
    from django.views.decorators.cache import never_cache

    def page(request: Any) -> HttpResponse:
        return HttpResponse(b"hi")

    def form(request: Any) -> HttpResponse:
        request.session["seen"] = "1"
        get_token(request)
        return HttpResponse(b"hi")

    @never_cache
    def never(request: Any) -> HttpResponse:
        get_token(request)
        return HttpResponse(b"hi")

    routes = [path("page", page), path("form", form), path("never_cache", never)]
    with override_settings(
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
    ):
        handler = WSGIHandler()

    def serve(environ: Any, start_response: Any) -> Any:
        with override_settings(ROOT_URLCONF=tuple(routes)):
            return handler(environ, start_response)

    return serve


def serve_flask(folder: Path) -> Any:
    """
    Return a Flask application whose views leave the headers to Flask, but for no-store.
    """
    from flask import Flask, send_from_directory, session

    app = Flask("pages")
    app.secret_key = "of this test"

    @app.route("/page")
    def page() -> str:
        return "hi"

    @app.route("/session")
    def seen() -> str:
        session["seen"] = 1
        return "hi"

    @app.route("/file")
    def file() -> Any:
        return send_from_directory(folder, "site.css", mimetype="text/html")

    @app.route("/no-store")
    def answer() -> Any:
        return "hi", {"Cache-Control": "no-store", "Vary": "Cookie"}

    return app


def answers(folder: Path) -> dict[str, Any]:
    """
    Return what each candidate answers, by path, framework and name, one path after the
    other; and the header lines of each page, as the benchmark and the framework write them.
    """
    import framework_candidates

    frameworks = {
        "Django": framework_candidates.django_handlers(),
        "Flask": framework_candidates.flask_handlers(),
    }
    own = {"Django": serve_django(), "Flask": serve_flask(folder)}
    answered = {
        path: {
            framework: {name: answer(handler, path) for name, handler in handlers.items()}
            for framework, handlers in frameworks.items()
        }
        for path in ("trusted", "mint")
    }
    pages = {
        framework: {
            page: [written(frameworks[framework]["bare"], page), written(own[framework], page)]
            for page in PAGES[framework]
        }
        for framework in frameworks
    }
    return {"answers": answered, "pages": pages}


def run(script: str | Path, *arguments: str) -> str:
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """
    The answers and pages of one process.
    """
    folder = tmp_path_factory.mktemp("static")
    folder.joinpath("site.css").write_text("hi", encoding="utf-8")
    made: dict[str, Any] = json.loads(run(__file__, str(folder)))
    return made


@pytest.fixture
def answered(found: dict[str, Any]) -> dict[str, Answers]:
    """
    The answers alone.
    """
    answers: dict[str, Answers] = found["answers"]
    return answers


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


@pytest.mark.parametrize(
    ("framework", "page"), [(framework, page) for framework in PAGES for page in PAGES[framework]]
)
def test_a_page_has_the_headers_of_its_framework(
    found: dict[str, Any], framework: str, page: str
) -> None:
    """
    The bare application writes the headers that the framework and its default middlewares write.
    """
    ours, theirs = found["pages"][framework][page]
    assert ours == theirs


def test_the_script_runs() -> None:
    """
    The figures are ratios to each candidate on each path; those with a target are held against it.
    """
    rows = [
        line.strip("| ").split(" | ")
        for line in run(BENCHMARKS / "frameworks.py", "--quick").splitlines()[2:]
    ]
    figures = {row[0]: row[1:] for row in rows}
    assert set(figures) == {
        f"{framework} {path} / {name}{which}"
        for framework, name in CANDIDATES
        for path in ("mint", "session", "trusted")
        for which in ("", ", worst response")
        if name not in ("bare", "idlanyard") and (name != "floor" or not which)
    }
    judged = {figure for figure, row in figures.items() if row[-1] in ("yes", "no")}
    assert judged == {figure for figure in figures if not figure.endswith("floor")}


if __name__ == "__main__":
    print(json.dumps(answers(Path(sys.argv[1]))))
