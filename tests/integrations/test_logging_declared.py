"""
Lines name every ID that is declared, at every moment of the process, as a handler wants it.
"""

from __future__ import annotations

import logging
import logging.config
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from idlanyard import (
    Policy,
    identify,
    request_spec,
    session_context,
    session_spec,
    use_policy,
    user_spec,
)
from idlanyard._failures import failures
from idlanyard._policy.checked_policy import Declared
from idlanyard._policy.policy import checked_policy
from idlanyard.integrations import logging as ids_logging
from idlanyard.integrations.logging import SessionContextFilter, SessionContextFormatter, install
from idlanyard.testing import raise_failures
from idlanyard.wsgi import SessionContextMiddleware

KEYS = [("2026", "k" * 32)]
EXTRA = Policy(
    extra=[request_spec(name="correlation_id", header="X-Correlation-ID"), request_spec(name="hop")]
)


@pytest.fixture
def made() -> Iterator[Callable[..., Callable[..., str]]]:
    """
    A function that writes lines by a filter and a formatter, and returns them.
    """
    undo: list[Callable[[], None]] = []

    def make(
        formatter: logging.Formatter, *filters: logging.Filter, installed: bool = False
    ) -> Callable[..., str]:
        if installed:
            undo.append(install())
        logger, handler = logging.getLogger("declared"), Lines()
        logger.handlers[:], logger.propagate = [], False
        handler.setFormatter(formatter)
        for one in filters:
            handler.addFilter(one)
        logger.addHandler(handler)

        def line(message: str = "x", **extra: object) -> str:
            logger.warning(message, extra=extra)
            return handler.lines.pop()

        return line

    yield make
    for take_back in undo:
        take_back()


class Lines(logging.Handler):
    """
    Keeps what it has formatted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


FORMATS: dict[Literal["%", "{", "$"], str] = {
    "%": "[%(session_id)s %(correlation_id)s %(hop)s] %(message)s",
    "{": "[{session_id} {correlation_id} {hop}] {message}",
    "$": "[$session_id ${correlation_id} $hop] $message",
}
DECLARED = """
import logging, sys
from idlanyard import Policy, request_spec
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.logging import (
    SessionContextFilter, SessionContextFormatter, install
)
handler = logging.StreamHandler(sys.stdout)
{set_up}
logging.getLogger().addHandler(handler)
policy = Policy(
    extra=[
        request_spec(name="correlation_id", header="X-Correlation-ID"),
        request_spec(name="hop", header="X-Hop"),
    ]
)
app = SessionContextMiddleware(lambda *a: None, policy)
logging.warning("started")
"""
SET_UPS: dict[str, tuple[str, str]] = {
    f"{name}, {style}": (f"{code}; handler.setFormatter({maker}({text!r}, style={style!r}))", unset)
    for style, text in FORMATS.items()
    for name, code, maker, unset in [
        ("filter", "handler.addFilter(SessionContextFilter())", "logging.Formatter", "None"),
        ("text", "handler.addFilter(SessionContextFilter(default='~'))", "logging.Formatter", "~"),
        ("install", "install()", "logging.Formatter", "None"),
        ("formatter", "pass", "SessionContextFormatter", "-"),
    ]
}


@pytest.mark.parametrize("name", SET_UPS)
def test_a_line_before_the_first_request_names_what_is_declared(name: str) -> None:
    """
    A format may name an ID of a policy that no request was handled under, in
    every style, by filter, factory and formatter.
    """
    set_up, unset = SET_UPS[name]
    program = DECLARED.replace("{set_up}", set_up)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"[{unset} {unset} {unset}] started\n", "")


@pytest.mark.parametrize("by", ["filter", "install"])
@pytest.mark.parametrize("style", FORMATS)
def test_in_the_request_of_another_policy_it_is_unset(
    style: Literal["%", "{", "$"], by: str, made: Callable[..., Callable[..., str]]
) -> None:
    """
    R10: two applications of one process write by one format.
    """
    filters = [SessionContextFilter()] if by == "filter" else []
    line = made(logging.Formatter(FORMATS[style], style=style), *filters, installed=not filters)
    lines: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        lines.append(line())
        lines.append(line())
        return []

    environ: Any = {"REQUEST_METHOD": "GET", "HTTP_X_SESSION_ID": "s1", "HTTP_X_REQUEST_ID": "r1"}
    for policy in (Policy(), EXTRA, Policy()):
        start: Any = None
        SessionContextMiddleware(app, policy)(dict(environ), start)
    without, with_ids, again = lines[:2], lines[2:4], lines[4:]
    assert without == again == ["[s1 None None] x"] * 2
    assert with_ids[0] == with_ids[1] != without[0]
    assert with_ids[0].startswith("[s1 ")
    assert with_ids[0].endswith(" r1] x")


def test_ids_are_known_as_long_as_their_policy() -> None:
    """
    An ID that no policy declares any more is no column of JSON lines.
    """
    policy = Policy(extra=[request_spec(name="passing", header="X-Passing")])
    assert "passing" in Declared.names
    del policy
    assert "passing" not in Declared.names


def test_a_filter_is_given_its_rules(made: Callable[..., Callable[..., str]]) -> None:
    """
    Outside requests the filter follows the policy that it was given.
    """
    policy = Policy(
        session=session_spec(log="omit"),
        user=user_spec(log="hash"),
        hash_keys=KEYS,
        extra=EXTRA.extra,
    )
    text = "%(session_id)s %(user_id)s %(correlation_id)s"
    line = made(logging.Formatter(text), SessionContextFilter(policy=policy, default="-"))
    undo = use_policy(Policy())
    with session_context("s1", user_id="alice"):
        assert line() == f"- {checked_policy(policy).pseudonym('user_id', 'alice')} -"
    undo()


def test_a_filter_writes_its_text_and_no_more_than_its_length(
    made: Callable[..., Callable[..., str]],
) -> None:
    """
    An unset ID is the text, a long one is cut, one of the application's stays.
    """
    text = "%(session_id)s %(user_id)s %(tenant_id)s"
    line = made(logging.Formatter(text), SessionContextFilter(default="-", length=4))
    with session_context("0123456789"):
        assert line() == "0123 - -"
        assert line(user_id="my-own-text", tenant_id=7) == "0123 my-own-text 7"
    assert line() == "- - -"


def test_a_filter_shortens_what_install_has_put_there(
    made: Callable[..., Callable[..., str]],
) -> None:
    """
    Install and a filter on one handler may be used together.
    """
    text = "%(session_id)s %(user_id)s"
    line = made(
        logging.Formatter(text), SessionContextFilter(default="-", length=4), installed=True
    )
    with session_context("0123456789"):
        assert line() == "0123 -"
        assert line(user_id="my-own-text") == "0123 my-own-text"


def test_a_formatter_writes_its_text_and_no_more_than_its_length(
    made: Callable[..., Callable[..., str]],
) -> None:
    """
    A formatter prints IDs as it is told, and leaves the record as it is.
    """
    kept = logging.Filter()
    formatter = SessionContextFormatter(
        "%(session_id)s %(user_id)s %(hop)s %(message)s",
        policy=EXTRA,
        default="none",
        defaults={"user_id": "nobody"},
        length=6,
    )
    line = made(formatter, kept, installed=True)
    with session_context("0123456789"):
        assert line("a long message") == "012345 nobody none a long message"
        assert line(user_id=1234567) == "012345 1234567 none x"
    assert line() == "none nobody none x"


def test_a_hashed_id_is_shortened_as_it_is_shown(
    made: Callable[..., Callable[..., str]],
) -> None:
    """
    S25: what is shortened is what the log sink shows, never the ID itself.
    """
    policy = Policy(session=session_spec(log="hash"), hash_keys=KEYS)
    shown = checked_policy(policy).pseudonym("session_id", "s1")[:9]
    undo = use_policy(policy)
    for formatter, filters in [
        (logging.Formatter("%(session_id)s"), [SessionContextFilter(length=9)]),
        (SessionContextFormatter("%(session_id)s", length=9), [SessionContextFilter()]),
    ]:
        with session_context("s1"):
            assert made(formatter, *filters)() == shown
    undo()


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        pytest.param({"policy": "app.policy"}, TypeError, "policy is a Policy, not str", id="path"),
        pytest.param({"default": 1}, TypeError, "write default='-'", id="default"),
        pytest.param({"length": "8"}, TypeError, "write length=8", id="length"),
        pytest.param({"length": True}, TypeError, "not bool", id="flag"),
        pytest.param({"length": 0}, ValueError, "as in length=8", id="zero"),
    ],
)
@pytest.mark.parametrize("kind", [SessionContextFilter, SessionContextFormatter])
def test_wrong_options_are_refused(
    kind: Any, options: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    """
    R14: an option that cannot be followed raises when the filter or formatter is made.
    """
    with pytest.raises(error, match=sentence):
        kind(**options)
    kind(policy=EXTRA, default="-", length=8)


def test_a_dictionary_configures_it(capsys: pytest.CaptureFixture[str]) -> None:
    """
    DictConfig makes filter and formatter with their options; ``ext://`` finds
    the policy.
    """
    logger = logging.getLogger("configured")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {
                "ids": {
                    "()": f"{ids_logging.__name__}.SessionContextFilter",
                    "policy": f"ext://{__name__}.EXTRA",
                    "default": "-",
                    "length": 8,
                }
            },
            "formatters": {
                "plain": {"format": "%(session_id)s %(correlation_id)s"},
                "ours": {
                    "()": f"{ids_logging.__name__}.SessionContextFormatter",
                    "format": "{session_id} {correlation_id}",
                    "style": "{",
                    "default": "?",
                    "length": 4,
                },
            },
            "handlers": {
                name: {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "filters": filters,
                    "formatter": name,
                }
                for name, filters in [("plain", ["ids"]), ("ours", [])]
            },
            "loggers": {"configured": {"handlers": ["plain", "ours"], "propagate": False}},
        }
    )
    with session_context("0123456789"):
        logger.warning("x")
    logger.handlers.clear()
    assert capsys.readouterr().out.splitlines() == ["01234567 -", "0123 -"]


MISSPELT = "idlanyard: a log format names"
MISSING = "idlanyard: a log line has no session_id although one is bound"


def test_a_formatter_says_that_nothing_is_installed(
    made: Callable[..., Callable[..., str]], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Lines without the IDs that are bound are said once, and what the
    warning says to call mends them.
    """
    line = made(SessionContextFormatter("%(session_id)s %(user_id)s"))
    assert line() == "- -"
    assert caplog.records == []
    with session_context("s1"):
        assert [line(), line()] == ["- -", "- -"]
        warning, *more = caplog.messages
        assert warning.startswith(MISSING)
        assert "idlanyard.integrations.logging.install()" in warning
        assert more == []
        mended = made(SessionContextFormatter("%(session_id)s"), SessionContextFilter())
        assert mended() == "s1"
        assert made(SessionContextFormatter("%(session_id)s"), installed=True)() == "s1"
        assert len(caplog.messages) == 1


def test_a_record_from_before_the_install_is_no_mistake(
    made: Callable[..., Callable[..., str]], caplog: pytest.LogCaptureFixture
) -> None:
    """
    After install was called, an older record is only unset.
    """
    record = logging.makeLogRecord({"msg": "x"})
    made(SessionContextFormatter("%(session_id)s"), installed=True)
    with session_context("s1"):
        assert SessionContextFormatter("%(session_id)s").format(record) == "-"
    assert caplog.records == []


def test_a_misspelt_field_is_said(
    made: Callable[..., Callable[..., str]], caplog: pytest.LogCaptureFixture
) -> None:
    """
    The field that is meant is named once, and it works; a field of
    the application's own is let be.
    """
    text = "sess_id=%(sesion_id)s %(order_id)s %(message)s"
    line = made(SessionContextFormatter(text), SessionContextFilter())
    assert line() == "sess_id=- - x"
    with session_context("s1"):
        assert [line(), line(order_id=7)] == ["sess_id=- - x", "sess_id=- 7 x"]
        message = (
            "idlanyard: a log format names sesion_id, which is no declared ID: write session_id"
        )
        assert caplog.messages == [message]
        mended = text.replace("sesion_id", message.rsplit(" ", 1)[1])
        assert made(SessionContextFormatter(mended), SessionContextFilter())() == "sess_id=s1 - x"


@pytest.mark.parametrize(
    ("field", "written"),
    [
        pytest.param("request_id", "Policy(extra=[request_spec()])", id="request"),
        pytest.param(
            "correlation_id",
            "Policy(extra=[request_spec(name='correlation_id', header='X-Correlation-ID')])",
            id="correlation",
        ),
        pytest.param("customer_id", "tenant_id", id="customer"),
    ],
)
def test_a_field_that_other_packages_have_is_said(field: str, written: str) -> None:
    """
    R6: a field that stays empty since no policy declares it is told of, with what declares it.
    """
    code = f"""
import logging
from idlanyard import Policy, request_spec, session_context
from idlanyard.integrations.logging import SessionContextFormatter, install

def lines():
    install()
    handler = logging.StreamHandler()
    handler.setFormatter(SessionContextFormatter("%({field})s %(message)s"))
    logging.getLogger().handlers[:] = [handler]
    with session_context("s1"):
        logging.warning("x")
        logging.warning("y")

lines()
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message = f"idlanyard: a log format names {field}, which is no declared ID: write {written}"
    assert said.stderr.splitlines() == [f"- {message}", "- x", "- y"]
    assert written == "tenant_id" or checked_policy(eval(written)).index[field]


def test_a_filter_that_fails_loses_no_line(
    made: Callable[..., Callable[..., str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    R14: a failure of ours is counted, and raised under test.
    """

    class Broken(SessionContextFilter):
        def _complete(self, *_: object) -> None:
            raise OSError("broken")

    line = made(logging.Formatter("%(message)s"), Broken())
    assert line() == "x"
    assert failures == {"log filter": 1}
    with raise_failures(), pytest.raises(OSError, match="broken"):
        line()


def test_identify_is_seen_by_a_filter(made: Callable[..., Callable[..., str]]) -> None:
    """
    R11: a filter reads what is in force when the record passes.
    """
    line = made(logging.Formatter("%(session_id)s %(user_id)s"), SessionContextFilter(default="-"))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert line() == "s1 -"
        identify(user_id="alice")
        assert line() == "s1 alice"
        return []

    environ: Any = {"REQUEST_METHOD": "GET", "HTTP_X_SESSION_ID": "s1"}
    start: Any = None
    SessionContextMiddleware(app)(environ, start)
