"""
The command line, the report and the exit status.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from doctor.observing import observed
from doctor.running import run
from idlanyard import __main__ as entry
from idlanyard._doctor._checks._finding import RED, Finding
from idlanyard._doctor._command import CANNOT_RUN, choose_checks, make_parser
from idlanyard._doctor._report import Report, write_text
from idlanyard._doctor._target import CannotRun
from ports import free_port

TESTS = Path(__file__).parents[1]
LIGHT, RIGHT, WRONG = (f"doctor.apps.{name}" for name in ("light", "right", "wrong"))


@pytest.fixture(autouse=True)
def in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Run in the folder that holds the applications.
    """
    monkeypatch.chdir(TESTS)


def test_asgi_over_uvicorn() -> None:
    """
    A FastAPI application without ours is red wherever ours would mend it; the status is 1.
    """
    words = ("--json", "--server", "uvicorn", "--port", str(free_port()))
    done = run(*words, "--path", "/boom", "--path", "/chat", f"{WRONG}:plain")
    document = json.loads(done.out)
    found = {check["name"]: check["verdict"] for check in document["checks"]}
    assert (done.status, document["status"], done.err) == (1, 1, "")
    assert (document["server"], document["framework"]) == ("uvicorn", "fastapi")
    # uvicorn 0.54 adds the lines after the body to the headers.
    green = {name for name, verdict in found.items() if verdict == "ok"}
    assert green == {"peer", "conflation", "context"}
    assert (found["access-lines"], found["error-lines"]) == ("red", "red")
    assert document["mend"][-1] == "install(app)"


def test_wsgi_over_waitress() -> None:
    """
    A Flask application with ours is green over waitress, which writes no access lines; status 0.
    """
    words = ("--server", "waitress", "--port", str(free_port()), "--path", "/", "--header", "A: b")
    done = run(*words, f"{RIGHT}:create_app()")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{RIGHT}:create_app(): flask over WSGI, in process and under waitr")
    assert "no such line was written" in done.out
    assert "These lines mend it" not in done.out


def test_only_and_skip_choose_the_checks() -> None:
    """
    A check that is left out cannot fail the command.
    """
    words = ("--server", "none", "--only", "mint,context", "--skip", "mint")
    done = run(*words, f"{LIGHT}:bare")
    assert (done.status, "context" in done.out, "mint" in done.out) == (0, True, False)
    with pytest.raises(CannotRun, match="there is no check mnt: write one of order, policy, mint"):
        choose_checks([], ["mnt"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "the following arguments are required: TARGET", id="no target"),
        pytest.param(["--kind", "x", "a:b"], "invalid choice: 'x'", id="a kind"),
        pytest.param(["--path", "boom", "a:b"], "a path begins with /", id="a path"),
        pytest.param(["--path", "/a b", "a:b"], "percent-encoded", id="a path with a space"),
        pytest.param(["--header", "X-Token", "a:b"], "'Name: value'", id="a header"),
        pytest.param(["--timeout", "soon", "a:b"], "a number of seconds", id="a word as seconds"),
        pytest.param(["--timeout", "-1", "a:b"], "a number of seconds", id="seconds"),
        pytest.param(["--only", "mnt", "a:b"], "there is no check mnt", id="a check"),
        pytest.param([f"{LIGHT}:nothing"], "has no nothing", id="a target"),
        pytest.param(
            ["--server", "waitress", f"{LIGHT}:asgi"],
            "waitress serves no ASGI application: write --server with one of uvicorn",
            id="a server for another protocol",
        ),
    ],
)
def test_what_cannot_run_is_one_sentence(words: list[str], said: str) -> None:
    """
    A command line or an application that is wrong is explained on stderr; the status is 2.
    """
    done = run(*words)
    assert (done.status, done.out, said in done.err) == (CANNOT_RUN, "", True)
    assert "Traceback" not in done.err


def test_json_says_why_it_cannot_run() -> None:
    """
    With --json the reason is one JSON document on stdout as well.
    """
    done = run("--json", f"{LIGHT}:nothing")
    document = json.loads(done.out)
    assert (done.status, document["status"]) == (CANNOT_RUN, 2)
    assert "has no nothing" in document["error"]


def test_an_application_that_prints_leaves_json_alone(tmp_path: Path) -> None:
    """
    The output of the application is not the output of the command.
    """
    code = (
        "print('{')\ndef app(environ, start_response):\n    print('}')\n"
        "    start_response('404 Not Found', [])\n    return []\n"
    )
    tmp_path.joinpath("noisy.py").write_text(code, encoding="utf-8")
    words = ["-m", "idlanyard", "doctor", "--json", "--server", "none", "noisy:app"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["target"]) == (1, "noisy:app")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("import time; time.sleep(600)", "hangs in the import of hostile", id="hangs"),
        pytest.param("import os; os._exit(7)", "ended its process with status 7", id="silent end"),
        pytest.param(
            "import os; print('bye', flush=True); os._exit(7)", "it wrote last:\n  bye", id="end"
        ),
    ],
)
def test_a_hostile_application_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    """
    An application that hangs or ends its process is described, with what it wrote.
    """
    tmp_path.joinpath("hostile.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = run("--timeout", "1", "hostile:app")
    assert (done.status, said in done.err) == (CANNOT_RUN, True)


def test_a_server_that_does_not_start_is_quoted() -> None:
    """
    What the server says before it ends is part of the message.
    """
    words = ("--server", "uvicorn", "--server-options=--no-such-option", f"{LIGHT}:asgi")
    done = run("--port", str(free_port()), *words)
    assert done.status == CANNOT_RUN
    assert "uvicorn did not start" in done.err
    assert "--no-such-option" in done.err


@pytest.mark.parametrize("named", ["", "WSGI_APPLICATION = 'site_wsgi.application'\n"])
def test_a_django_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """
    A settings module alone is a Django project; its order is judged by the system checks.
    """
    settings = (
        "SECRET_KEY = 'x'\nALLOWED_HOSTS = ['.shop.example']\nROOT_URLCONF = 'site_settings'\n"
        "urlpatterns = []\nCORS_ALLOWED_ORIGINS = ['https://a.example']\n"
        "MIDDLEWARE = ['django.middleware.common.CommonMiddleware',\n"
        "    'idlanyard.integrations.django.SessionContextMiddleware']\n"
    )
    wsgi = "from django.core.wsgi import get_wsgi_application as get\napplication = get()\n"
    tmp_path.joinpath("site_settings.py").write_text(settings + named, encoding="utf-8")
    tmp_path.joinpath("site_wsgi.py").write_text(wsgi, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = run("--json", "--server", "none", "site_settings")
    found = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert (found["echo-404"]["verdict"], found["order"]["verdict"]) == ("ok", "red")
    assert "outside of SessionContextMiddleware: CommonMiddleware" in found["order"]["seen"]


def test_without_rich_the_report_is_plain() -> None:
    """
    Where Rich is not installed, the report is lines of text, and says red in words.
    """
    report = Report("app", observed("wrong:leaving"), [])
    there = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        out = io.StringIO()
        checks = choose_checks(["context", "echo-500", "outgoing"], [])
        judged = [(check, check.judge(report.observations)) for check in checks]
        write_text(report._replace(findings=judged), out)
    finally:
        del sys.modules["rich"]
        if there is not None:
            sys.modules["rich"] = there
    assert "RED: context, nothing is left for the next request\n    still set" in out.getvalue()
    assert "\n    write: let the middleware bind the ID" in out.getvalue()
    assert "1 red" in out.getvalue()


def test_a_terminal_gets_its_own_width() -> None:
    """
    On a terminal the table is as wide as that, and colour is not the only sign of red.
    """

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    observations = observed("wrong:leaving")
    judged = [(check, check.judge(observations)) for check in choose_checks(["context"], [])]
    out = Terminal()
    write_text(Report("app", observations, judged), out)
    assert "red" in out.getvalue()


def start(*words: str, path: Path | None = None) -> subprocess.Popen[str]:
    """
    Start the command in a process of its own, with a folder of applications.
    """
    line = [sys.executable, "-m", "idlanyard", "doctor", *words]
    paths = os.pathsep.join(filter(None, (str(path or TESTS), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.Popen(line, env=environment, text=True, stdout=-1, stderr=-1)


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "JSON"])
def test_a_reader_that_has_gone_is_no_error(more: tuple[str, ...]) -> None:
    """
    A report whose reader has gone, as with ``| head``, ends without a traceback.
    """
    with start(f"{LIGHT}:bare", "--only", "mint", "--server", "waitress", *more) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", 1)


WAITING = """
import threading

def app(environ, start_response):
    with open("{fifo}", "w") as fifo:
        fifo.write("called")
    threading.Event().wait()
"""


def test_an_interruption_is_one_sentence(tmp_path: Path) -> None:
    """
    Ctrl-C stops the application, and one sentence says so.
    """
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    tmp_path.joinpath("waiting.py").write_text(WAITING.format(fifo=fifo), encoding="utf-8")
    with start("waiting:app", "--timeout", "300", path=tmp_path) as process:
        assert fifo.read_text(encoding="utf-8") == "called"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    said = "python -m idlanyard doctor: interrupted, and the application is stopped\n"
    assert (out, err, process.returncode) == ("", said, 130)


def test_the_entry_knows_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``python -m idlanyard doctor --help`` shows the exit statuses.
    """
    with pytest.raises(SystemExit) as ended:
        entry.main(["doctor", "--help"])
    assert ended.value.code == 0
    assert "1  a check is red" in capsys.readouterr().out
    assert "doctor" in make_parser().prog


def test_nothing_that_was_seen_controls_the_terminal() -> None:
    """
    Control characters of an application's headers or errors are written as in Python.
    """
    out = io.StringIO()
    (check,) = choose_checks(["context"], [])
    judged = [(check, Finding(RED, "\x1b[2J\u202eseen\nnext", "\x07"))]
    write_text(Report("a\x1bpp", observed("wrong:leaving"), judged), out)
    assert "\x1b" not in out.getvalue()
    assert all(word in out.getvalue() for word in ("a\\x1bpp", "\\x1b[2J\\u202eseen", "\\x07"))
