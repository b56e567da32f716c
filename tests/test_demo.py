"""
The demo runs real servers, and a row that is wrong is called so.
"""

from __future__ import annotations

import io
import logging
import re
import runpy
import sys
import urllib.request
from importlib import metadata

import pytest
from rich.console import Console

import idlanyard
from idlanyard import SessionContext
from idlanyard import __main__ as entry
from idlanyard.__main__ import main
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import attach_to_error, make_request_ids
from idlanyard._demo import rows as demo_rows
from idlanyard._demo.asking import DemoResponse
from idlanyard._demo.rows import REQUESTS, DemoRow, judge_error, judge_request, judge_stream
from idlanyard._demo.run import keep_serving, list_commands, print_table, run_demo
from idlanyard._demo.servers import Tracebacks


def console() -> Console:
    """
    A console that writes to memory.
    """
    return Console(file=io.StringIO(), width=160)


def printed(on: Console) -> str:
    """
    Return the text that was written to it.
    """
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def test_the_demo_is_right_on_every_row() -> None:
    """
    Against uvicorn and waitress, every row of the demo is right, and the status is 0.
    """
    out = console()
    assert run_demo(out) == 0
    assert "22 of 22 rows right" in printed(out)
    assert "WRONG" not in printed(out)


def test_a_wrong_row_fails_the_demo() -> None:
    """
    One row that is not right is called wrong, and the status is 1.
    """
    out = console()
    good = DemoRow("ASGI", "a", "b", "c", "d", right=True)
    assert print_table([good, good._replace(right=False)], out) == 1
    assert "WRONG" in printed(out)
    assert "1 of 2 rows right" in printed(out)


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        pytest.param(1, DemoResponse(500, {"x-session-id": "chat-42"}, "oops"), id="no JSON"),
        pytest.param(
            1,
            DemoResponse(200, {}, '{"ids": {"session_id": ["chat-42", "client"]}, "raw": null}'),
            id="no echo",
        ),
        pytest.param(
            3,
            DemoResponse(
                200,
                {"x-session-id": "chat-42"},
                '{"ids": {"session_id": ["chat-42", "client"]}, "raw": "admin"}',
            ),
            id="the spoof is still in the header",
        ),
        pytest.param(
            0,
            DemoResponse(
                200,
                {"x-session-id": "not-minted"},
                '{"ids": {"session_id": ["not-minted", "minted"]}, "raw": null}',
            ),
            id="not minted",
        ),
    ],
)
def test_a_row_is_judged_by_what_was_observed(case: int, answer: DemoResponse) -> None:
    """
    A response that is not what the case asks for makes a row wrong.
    """
    assert not judge_request("ASGI", REQUESTS[case], answer).right


def test_a_stream_and_an_error_are_judged_too() -> None:
    """
    A part without its session, and an error whose log line lacks it, are wrong.
    """
    echo = {"x-session-id": "chat-42"}
    assert judge_stream("WSGI", DemoResponse(200, echo, "chat-42\n" * 3)).right
    assert not judge_stream("WSGI", DemoResponse(200, echo, "chat-42\nNone\n")).right
    assert judge_error("WSGI", DemoResponse(500, {}, ""), ["broken-WSGI"]).right
    assert not judge_error("WSGI", DemoResponse(500, {}, ""), ["another"]).right


def test_tracebacks_without_a_snapshot_are_passed_over() -> None:
    """
    Of the tracebacks that a server logs, those of a request carry its IDs.
    """
    heard = Tracebacks()
    carrying = ValueError()
    attach_to_error(carrying, make_request_ids(DEFAULT_POLICY, {}))
    for error in (None, ValueError(), carrying):
        info = None if error is None else (type(error), error, None)
        heard.emit(logging.LogRecord("uvicorn.error", logging.ERROR, "", 1, "", None, info))
    assert heard.contexts == [SessionContext()]


def test_serving_keeps_both_servers_up_until_interrupted() -> None:
    """
    With --serve both servers answer while the demo waits, and Ctrl-C stops them.
    """
    out = console()
    statuses: list[int] = []

    def wait() -> None:
        for url in re.findall(r"curl -i (http://\S+/)\n", printed(out)):
            with urllib.request.urlopen(url, timeout=10) as response:
                statuses.append(response.status)
        raise KeyboardInterrupt

    assert keep_serving(wait, out) == 0
    assert statuses == [200, 200]
    assert printed(out).endswith("stopped\n")


def test_serving_ends_by_itself_when_there_is_nothing_to_wait_for() -> None:
    """
    When the wait is over the servers stop without an interrupt.
    """
    assert keep_serving(lambda: None, console()) == 0


def test_the_lines_to_try_name_both_servers() -> None:
    """
    The curl lines reach both ports.
    """
    text = "\n".join(list_commands(1, 2))
    assert "127.0.0.1:1/" in text
    assert "127.0.0.1:2/" in text


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``python -m idlanyard`` alone prints what it can do.
    """
    assert main([]) == 0
    help_text = capsys.readouterr().out
    assert "shows requests travel" in help_text
    assert "``" not in help_text


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``python -m idlanyard --version`` prints ``__version__``, which is the installed one.
    """
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"idlanyard {idlanyard.__version__}\n"
    assert idlanyard.__version__ == metadata.version("idlanyard")


def test_the_command_line_runs_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``python -m idlanyard demo --table`` prints the table and exits 0.
    """
    before, sys.argv = sys.argv, ["idlanyard", "demo", "--table"]
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(entry.__file__), run_name="__main__")
    finally:
        sys.argv = before
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("The log warns of spoofed and invalid headers")
    assert "rows right" in shown


def test_a_missing_extra_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without the extra the demo says in one sentence what to install, and exits 2.
    """
    gone = [name for name in sys.modules if name.startswith(("rich", "idlanyard._demo"))]
    kept = {name: sys.modules.pop(name) for name in gone}
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        assert main(["demo", "--table"]) == 2
    finally:
        for name in [n for n in sys.modules if n.startswith(("rich", "idlanyard._demo"))]:
            del sys.modules[name]
        sys.modules.update(kept)
    assert "pip install '.[demo]'" in capsys.readouterr().err
    assert demo_rows is sys.modules["idlanyard._demo.rows"]
