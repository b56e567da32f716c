"""
Log records have the IDs of where they are made, and break nobody's logging.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import logging.config
import logging.handlers
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pythonjsonlogger.json import JsonFormatter

from idlanyard import (
    IDSpec,
    Policy,
    clear_session_context,
    identify,
    request_spec,
    session_context,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._failures import failures
from idlanyard._policy.checked_policy import Declared
from idlanyard._policy.policy import checked_policy
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.integrations.logging import (
    SessionContextFilter,
    SessionContextFormatter,
    install,
)
from idlanyard.testing import raise_failures
from idlanyard.wsgi import SessionContextMiddleware

NAMES = ("session_id", "user_id", "tenant_id")
LEVELS = (logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.ERROR, logging.CRITICAL)
KEY = ("k1", "k" * 32)
HASHING = Policy(
    user=user_spec(log="hash"), tenant=tenant_spec(log="omit"), hash_keys=[KEY], extra=()
)


class Kept(logging.Handler):
    """
    Keeps every record.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def own_logger() -> logging.Logger:
    """
    A logger that stands in no tree but its own.
    """
    return logging.Manager(logging.RootLogger(logging.DEBUG)).getLogger("app")


class Logging:
    """
    A logger of its own, and what it has logged.
    """

    def __init__(self) -> None:
        self.logger = own_logger()
        self.kept = Kept()
        self.logger.addHandler(self.kept)

    @property
    def last(self) -> Any:
        return self.kept.records[-1]


@pytest.fixture
def log() -> Logging:
    """
    A logger that nobody else has.
    """
    return Logging()


@pytest.fixture(autouse=True)
def factory_is_put_back() -> Iterator[None]:
    """
    Fail the test that leaves a factory in place.
    """
    yield
    left = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    assert left is logging.LogRecord


@contextlib.contextmanager
def installed(policy: Policy | None = None) -> Iterator[None]:
    undo = install(policy)
    try:
        yield
    finally:
        undo()


@pytest.fixture
def install_it() -> Iterator[None]:
    """
    The factory in place for a test.
    """
    with installed():
        yield


def ids(record: logging.LogRecord) -> tuple[Any, ...]:
    """
    Return the three IDs of a record, by attribute and by ``__dict__``.
    """
    seen = tuple(getattr(record, name) for name in NAMES)
    assert seen == tuple(record.__dict__[name] for name in NAMES)
    return seen


def raised(policy: Policy | None = None, session: str = "s-broken") -> Exception:
    """
    The exception of a request that has failed, as a server gets it.
    """

    def boom(environ: Any, start_response: Any) -> Any:
        identify(user_id="alice", tenant_id="acme")
        raise LookupError("gone")

    try:
        SessionContextMiddleware(boom, policy)({"HTTP_X_SESSION_ID": session}, lambda *_: print)
    except LookupError as error:
        return error
    raise AssertionError


def serve(policy: Policy, session: str, work: Callable[[], None]) -> None:
    """
    Do *work* in a request.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        work()

    scope = {"type": "http", "headers": [(b"x-session-id", session.encode())]}
    asyncio.run(ASGIMiddleware(app, policy)(scope, None, None))


@pytest.mark.usefixtures("install_it")
def test_a_record_has_the_ids_in_force(log: Logging) -> None:
    """
    R11: a record has what is bound where it is made, and what is unset is ``None``.
    """
    with session_context("s1", user_id="alice"):
        log.logger.info("inside")
    assert ids(log.last) == ("s1", "alice", None)
    log.logger.info("outside")
    assert ids(log.last) == (None, None, None)


@pytest.mark.usefixtures("install_it")
def test_a_request_is_read_at_every_record(log: Logging) -> None:
    """
    R2.3, R11: after ``identify`` and in a block the next record says what is in force then.
    """

    def work() -> None:
        log.logger.info("first")
        identify(user_id="alice")
        log.logger.info("second")
        with session_context("s2", tenant_id="acme"):
            log.logger.info("third")
        clear_session_context()
        log.logger.info("fourth")

    serve(Policy(), "s1", work)
    assert [ids(record) for record in log.kept.records] == [
        ("s1", None, None),
        ("s1", "alice", None),
        ("s2", "alice", "acme"),
        (None, None, None),
    ]


@pytest.mark.usefixtures("install_it")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("taken", [NAMES[:1], NAMES[1:2], NAMES[2:], NAMES, ("order",)])
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
def test_what_the_application_says_wins(
    log: Logging, level: int, taken: tuple[str, ...], bound: bool
) -> None:
    """
    ``extra`` may use our names at every level, and only those it uses are its own.
    """
    mine = {"session_id": "s1", "user_id": "alice", "tenant_id": "acme"} if bound else {}
    own: dict[str, object] = dict.fromkeys(taken, 7)
    with session_context(**mine):
        # Twice, since the first record under any rules is made the long way.
        log.logger.log(level, "x", extra=own)
        log.logger.log(level, "x", extra=own)
    for record in log.kept.records:
        expected: dict[str, object] = dict.fromkeys(NAMES, None) | dict(mine) | own
        assert ids(record) == tuple(expected[name] for name in NAMES)


@pytest.mark.usefixtures("install_it")
def test_logger_exception_takes_extra_too(log: Logging) -> None:
    """
    ``logger.exception`` and a logger of its own class take our names as well.
    """

    class Own(logging.Logger):
        def makeRecord(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: N802
            return super().makeRecord(*args, **kwargs)

    for logger in (log.logger, Own("own")):
        logger.handlers = [log.kept]
        try:
            raise raised()
        except LookupError:
            logger.exception("x", extra={"user_id": 7})
        assert ids(log.last) == ("s-broken", 7, "acme")


@pytest.mark.usefixtures("install_it")
def test_what_is_really_taken_is_still_refused(log: Logging) -> None:
    """
    Names of the standard library's in ``extra`` are refused as ever.
    """
    for name in ("message", "asctime", "levelname", "args"):
        with pytest.raises(KeyError):
            log.logger.info("x", extra={name: 7})


@pytest.mark.usefixtures("install_it")
def test_filters_read_attributes_at_once(log: Logging) -> None:
    """
    A logger's filter, which comes first, reads every ID, set and unset.
    """
    seen: list[Any] = []

    def look(record: logging.LogRecord) -> bool:
        present = [name in record.__dict__ for name in NAMES]
        seen.append((present, hasattr(record, "user_id"), ids(record)))
        return record.user_id == "alice"  # type: ignore[attr-defined, no-any-return]

    log.logger.addFilter(look)
    with session_context("s1", user_id="alice"):
        log.logger.info("kept")
    with session_context("s2"):
        log.logger.info("not kept")
    assert seen == [
        ([True] * 3, True, ("s1", "alice", None)),
        ([True] * 3, True, ("s2", None, None)),
    ]
    assert [record.msg for record in log.kept.records] == ["kept"]


@pytest.mark.usefixtures("install_it")
def test_json_lines_carry_them() -> None:
    """
    Python-json-logger writes the IDs, an unset one as null, one's own as it is.
    """
    lines: list[str] = []

    class Printing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger, handler = own_logger(), Printing()
    handler.setFormatter(JsonFormatter("{message}{session_id}", style="{"))
    logger.addHandler(handler)
    with session_context("s1", user_id="alice"):
        logger.info("x %s", 1)
        logger.info("y", extra={"user_id": 7, "order": 9})
    # Other tests' policies may declare further IDs, which are null here.
    others = dict.fromkeys(Declared.names)
    assert [json.loads(line) for line in lines] == [
        others | {"message": "x 1", "session_id": "s1", "user_id": "alice", "tenant_id": None},
        others | {"message": "y", "session_id": "s1", "user_id": 7, "tenant_id": None, "order": 9},
    ]


@pytest.mark.usefixtures("install_it")
def test_a_queue_hands_on_what_was_in_force(log: Logging) -> None:
    """
    Behind a queue, in another thread, a record says what it was made with.
    """
    records: queue.Queue[Any] = queue.Queue()
    logger = own_logger()
    logger.addHandler(logging.handlers.QueueHandler(records))
    logger.handlers[0].addFilter(SessionContextFilter())
    listener = logging.handlers.QueueListener(records, log.kept)
    with session_context("s1", user_id="alice"):
        logger.info("x", extra={"tenant_id": "own"})
    with session_context("s2"):
        listener.start()
        listener.stop()
    assert ids(log.last) == ("s1", "alice", "own")


@pytest.mark.usefixtures("install_it")
def test_a_record_is_copied_and_pickled(log: Logging) -> None:
    """
    Copies, pickles and what a socket handler sends are ordinary records.
    """
    with session_context("s1", user_id="alice"):
        log.logger.info("x", extra={"user_id": 7})
    record = log.last
    sent = logging.handlers.SocketHandler("127.0.0.1", 0).makePickle(record)[4:]
    with session_context("elsewhere"):
        copies = [
            copy.copy(record),
            copy.deepcopy(record),
            pickle.loads(pickle.dumps(record)),
            logging.makeLogRecord(record.__dict__),
            logging.makeLogRecord(pickle.loads(sent)),
        ]
    assert [ids(one) for one in copies] == [("s1", 7, None)] * len(copies)
    assert {type(one) for one in copies} == {logging.LogRecord}
    assert [type(one.__dict__) for one in copies[:3]] == [dict] * 3


@pytest.mark.usefixtures("install_it")
def test_a_pickled_record_needs_nothing_of_ours(log: Logging) -> None:
    """
    A process that has no idlanyard unpickles a record with its IDs.
    """
    with session_context("s1"):
        log.logger.info("x")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).session_id)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        input=pickle.dumps(log.last),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [b"s1"]


class Tagged(logging.LogRecord):
    """
    A record of the application's.
    """

    tag = "of a class"


def tagging(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """
    A factory of the application's, which has a user of its own.
    """
    record = Tagged(*args, **kwargs)
    record.__dict__["user_id"] = "of the factory"
    return record


def test_a_factory_before_is_kept(log: Logging) -> None:
    """
    An existing factory makes the records, and what it puts in them stays.
    """
    logging.setLogRecordFactory(tagging)

    def work() -> None:
        identify(user_id="alice")
        log.logger.info("x")
        log.logger.info("y")
        log.logger.info("z", extra={"tenant_id": "own"})

    with installed():
        serve(Policy(), "s1", work)
    assert logging.getLogRecordFactory() is tagging
    logging.setLogRecordFactory(logging.LogRecord)
    assert {(type(r), r.tag) for r in log.kept.records} == {  # type: ignore[attr-defined]
        (Tagged, "of a class")
    }
    assert [ids(record) for record in log.kept.records] == [
        ("s1", "of the factory", None),
        ("s1", "of the factory", None),
        ("s1", "of the factory", "own"),
    ]


def test_it_is_taken_back_once(log: Logging) -> None:
    """
    Taken back, records are as before, and a second time nothing happens.
    """
    undo = install()
    undo()
    logging.setLogRecordFactory(tagging)
    undo()
    assert logging.getLogRecordFactory() is tagging
    logging.setLogRecordFactory(logging.LogRecord)
    with session_context("s1"):
        log.logger.info("x")
    assert not hasattr(log.last, "session_id")
    assert type(log.last.__dict__) is dict


def test_it_is_taken_back_from_under_another_factory(log: Logging) -> None:
    """
    A factory that was set since then stays, and ours adds nothing.
    """
    undo = install()
    ours = logging.getLogRecordFactory()

    def later(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = ours(*args, **kwargs)
        record.__dict__["later"] = True
        return record

    logging.setLogRecordFactory(later)
    with session_context("s1"):
        log.logger.info("x", extra={"user_id": 7})
        undo()
        log.logger.info("y")
    assert logging.getLogRecordFactory() is later
    logging.setLogRecordFactory(logging.LogRecord)
    first, second = log.kept.records
    assert ids(first) == ("s1", 7, None)
    assert (second.later, hasattr(second, "session_id")) == (True, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first first", "last first"])
def test_two_installs_are_taken_back_in_any_order(log: Logging, order: tuple[int, int]) -> None:
    """
    R11: installed twice, records are complete until both are taken back, in any order.
    """
    undos = [install(), install(Policy(extra=[request_spec()]))]
    for number in order:
        with session_context("s1"):
            log.logger.info("x", extra={"user_id": 7})
            log.logger.info("x", extra={"user_id": 7, "session_id": 8})
        assert [ids(record) for record in log.kept.records[-2:]] == [("s1", 7, None), (8, 7, None)]
        undos[number]()
    assert logging.getLogRecordFactory() is logging.LogRecord


def test_two_installs_keep_the_names_of_both(log: Logging) -> None:
    """
    R11: installed twice, ``extra`` may use what either policy declares.
    """
    undos = [install(Policy(extra=[request_spec()])), install()]
    policy = Policy()
    for _ in range(2):
        serve(policy, "s1", lambda: log.logger.info("x", extra={"request_id": 7}))
    for undo in undos:
        undo()
    assert [(ids(record)[0], record.request_id) for record in log.kept.records] == [  # type: ignore[attr-defined]
        ("s1", 7)
    ] * 2


def test_the_policy_is_a_policy() -> None:
    """
    R14: what is no policy is refused when installed.
    """
    with pytest.raises(TypeError, match=r"write Policy\(\.\.\.\)"):
        install("none")  # type: ignore[arg-type]


def shown_user(policy: Policy) -> str:
    return checked_policy(policy).pseudonym("user_id", "alice")


def test_sinks_are_the_scopes_own(log: Logging) -> None:
    """
    R10, S25: each request's records show its IDs as its own policy says, side by side.
    """

    def work() -> None:
        identify(user_id="alice", tenant_id="acme")
        log.logger.info("x")
        log.logger.info("y")

    with installed():
        for _ in range(2):
            serve(HASHING, "s1", work)
            serve(Policy(), "s2", work)
    hashed, clear = ("s1", shown_user(HASHING), None), ("s2", "alice", "acme")
    assert [ids(record) for record in log.kept.records] == [hashed, hashed, clear, clear] * 2


@pytest.mark.parametrize("how", ["install", "use_policy"])
def test_outside_requests_the_given_policy_rules(log: Logging, how: str) -> None:
    """
    R10, S25: outside requests the policy of ``install`` rules, or else that of ``use_policy``.
    """
    clear = Policy()
    with contextlib.ExitStack() as stack:
        stack.callback(use_policy(HASHING if how == "use_policy" else clear))
        stack.enter_context(installed(None if how == "use_policy" else HASHING))
        # A request under other rules in between changes nothing.
        serve(clear, "s0", lambda: log.logger.info("in a request"))
        with session_context("s1", user_id="alice", tenant_id="acme"):
            log.logger.info("x")
            log.logger.info("y")
    assert [ids(record) for record in log.kept.records[1:]] == [
        ("s1", shown_user(HASHING), None)
    ] * 2
    assert "alice" not in str(log.last.__dict__)


def test_declared_ids_are_there_too(log: Logging) -> None:
    """
    An ID that a policy declares is on its records, and extra may use its name.
    """
    device = IDSpec(name="device", header="X-Device", accept="anyone")
    policy = Policy(extra=[request_spec(mint=lambda: "r1"), device])

    def work() -> None:
        log.logger.info("x")
        log.logger.info("y", extra={"device": 7})

    with installed(policy):
        serve(policy, "s1", work)
        serve(Policy(), "s2", work)
        log.logger.info("outside")
    seen = [(r.request_id, r.device) for r in log.kept.records]  # type: ignore[attr-defined]
    assert seen == [("r1", None), ("r1", 7), (None, None), (None, 7), (None, None)]


def test_the_environment_speaks_outside_requests(
    log: Logging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    R5: outside requests an unset ID is the environment's, at call time; in one it is absent.
    """
    with installed(), session_context("s1"):
        log.logger.info("before")
        monkeypatch.setenv("IDLANYARD_USER_ID", "batch")
        log.logger.info("after")
        serve(Policy(), "s2", lambda: log.logger.info("in a request"))
    assert [ids(record) for record in log.kept.records] == [
        ("s1", None, None),
        ("s1", "batch", None),
        ("s2", None, None),
    ]


@pytest.mark.usefixtures("install_it")
def test_a_traceback_line_has_the_ids_of_its_request(log: Logging) -> None:
    """
    Defect 4.19: where nothing is bound any more, the IDs are those that the exception carries.
    """
    error = raised()
    log.logger.error("by the server", exc_info=error)
    assert ids(log.last) == ("s-broken", "alice", "acme")
    log.logger.error("hashed", exc_info=raised(HASHING))
    assert ids(log.last) == ("s-broken", shown_user(HASHING), None)
    log.logger.error("another", exc_info=ValueError())
    assert ids(log.last) == (None, None, None)
    with session_context("s1"):
        log.logger.error("by somebody who has IDs", exc_info=error)
    assert ids(log.last) == ("s1", None, None)


@pytest.mark.usefixtures("install_it")
def test_tasks_and_threads_keep_apart(log: Logging) -> None:
    """
    R1: concurrent tasks and threads log their own IDs.
    """

    async def one(number: int) -> None:
        with session_context(f"s{number}"):
            await asyncio.sleep(0)
            log.logger.info("s%s", number)

    async def every() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    threads = [threading.Thread(target=asyncio.run, args=(every(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.kept.records) == 80
    assert all(record.getMessage() == ids(record)[0] for record in log.kept.records)


class Closed:
    """
    A record that takes no attributes.
    """

    __slots__ = ()


def test_a_record_that_cannot_be_completed_is_logged_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    R14: a failure of ours is counted and logged once, and raised under test.
    """

    def make(*args: Any, **kwargs: Any) -> Any:
        return logging.LogRecord(*args, **kwargs) if args[0] == "idlanyard" else Closed()

    logging.setLogRecordFactory(make)
    with installed():
        factory = logging.getLogRecordFactory()
        assert all(isinstance(factory("app"), Closed) for _ in range(3))
        with raise_failures(), pytest.raises(AttributeError):
            factory("app")
    logging.setLogRecordFactory(logging.LogRecord)
    assert failures == {"log record factory": 3}
    assert len(caplog.records) == 1


def test_a_filter_completes_records(log: Logging) -> None:
    """
    Without ``install``, a filter gives records the IDs; one's own stay.
    """
    log.kept.addFilter(SessionContextFilter())
    with session_context("s1", user_id="alice"):
        log.logger.info("x", extra={"user_id": 7})
    assert ids(log.last) == ("s1", 7, None)
    log.logger.error("x", exc_info=raised(HASHING))
    assert ids(log.last) == ("s-broken", shown_user(HASHING), None)


def test_a_filter_lets_through_what_a_filter_does(log: Logging) -> None:
    """
    The filter's argument is that of ``logging.Filter``, and R14 holds for it.
    """
    named = SessionContextFilter("app")
    assert named.filter(logging.makeLogRecord({"name": "app.orders"}))
    assert not named.filter(logging.makeLogRecord({"name": "other"}))
    closed: Any = Closed()
    assert SessionContextFilter().filter(closed)
    assert failures == {"log filter": 1}


LINES = {
    "%": "%(session_id)s %(user_id)s %(tenant_id)s %(message)s",
    "{": "{session_id:>4} {user_id:s} {tenant_id} {message}",
    "$": "$session_id ${user_id} $tenant_id $message",
}


@pytest.mark.parametrize("style", ["%", "{", "$"])
def test_the_formatter_prints_a_dash_for_what_is_unset(log: Logging, style: Any) -> None:
    """
    R15: the placeholder belongs to the format, also of a record made before ``install``.
    """
    formatter = SessionContextFormatter(LINES[style], style=style)
    log.logger.info("before")
    with installed():
        log.logger.info("unset")
        with session_context("s1", user_id="alice"):
            log.logger.info("set")
            log.logger.info("own", extra={"tenant_id": 7})
    lines = [formatter.format(record).split() for record in log.kept.records]
    assert lines == [
        ["-", "-", "-", "before"],
        ["-", "-", "-", "unset"],
        ["s1", "alice", "-", "set"],
        ["s1", "alice", "7", "own"],
    ]
    # Other handlers see what there is.
    assert not hasattr(log.kept.records[0], "session_id")
    assert ids(log.kept.records[1]) == (None, None, None)


def test_the_formatter_is_a_formatter(log: Logging) -> None:
    """
    It takes a formatter's arguments, and all else is printed as ever.
    """
    formatter = SessionContextFormatter(
        "%(asctime)s %(user_id)s %(order_id)s %(exc_info)s %(message)s",
        "%Y",
        "%",
        True,
        defaults={"user_id": "nobody", "order_id": 9},
    )
    with installed():
        log.logger.info("x")
    asctime, *rest = formatter.format(log.last).split()
    assert (len(asctime), rest) == (4, ["nobody", "9", "None", "x"])
    with session_context("s1"):
        log.logger.error("boom", exc_info=ValueError("why"))
    assert SessionContextFormatter().format(log.last).splitlines() == ["boom", "ValueError: why"]
    with pytest.raises(ValueError, match="colour"):
        SessionContextFormatter("%(colour)s").format(log.last)


def test_the_formatter_knows_what_is_declared(log: Logging) -> None:
    """
    A declared ID of any name has its dash, any other field its error.
    """
    formatter = SessionContextFormatter("%(device)s %(request_id)s")
    log.logger.info("x")
    with pytest.raises(ValueError, match="device"):
        formatter.format(log.last)
    policy = Policy(extra=[IDSpec(name="device", header="X-Device", accept="anyone")])
    undo = use_policy(policy)
    assert formatter.format(log.last) == "- -"
    undo()


def test_dict_config_takes_both(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Filter and formatter are configured as any other, without a line of code.
    """
    home = "idlanyard.integrations.logging"
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"ids": {"()": f"{home}.SessionContextFilter"}},
        "formatters": {
            "line": {
                "class": f"{home}.SessionContextFormatter",
                "format": "{session_id} {user_id} {message}",
                "style": "{",
            }
        },
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "filters": ["ids"],
                "formatter": "line",
            }
        },
        "loggers": {"configured": {"handlers": ["out"], "level": "INFO", "propagate": False}},
    }
    logging.config.dictConfig(config)
    logger = logging.getLogger("configured")
    with session_context("s1"):
        logger.info("x")
    logger.handlers.clear()
    assert capsys.readouterr().out == "s1 - x\n"


def test_a_session_that_is_left_out_or_omitted_is_none(log: Logging) -> None:
    """
    S25: what is omitted is ``None`` on records; a policy without a session has none.
    """
    with installed():
        serve(Policy(session=session_spec(log="omit")), "s1", lambda: log.logger.info("x"))
        serve(Policy(session=None), "s1", lambda: log.logger.info("x"))
    assert [ids(record) for record in log.kept.records] == [(None, None, None)] * 2
