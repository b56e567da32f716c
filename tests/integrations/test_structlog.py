"""
structlog's events have the IDs of where they are logged.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.handlers
import queue
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from idlanyard import (
    Policy,
    identify,
    request_spec,
    session_context,
    tenant_spec,
    use_policy,
    user_spec,
)
from idlanyard._failures import failures
from idlanyard._policy.policy import checked_policy
from idlanyard.integrations.logging import install
from idlanyard.integrations.structlog import add_session_context
from idlanyard.testing import raise_failures
from idlanyard.wsgi import SessionContextMiddleware

KEY = ("k1", "k" * 32)
HASHING = Policy(user=user_spec(log="hash"), tenant=tenant_spec(log="omit"), hash_keys=[KEY])


@pytest.fixture
def captured() -> CapturingLogger:
    """
    Keeps what is logged.
    """
    return CapturingLogger()


@pytest.fixture
def logger(captured: CapturingLogger) -> Any:
    """
    A logger whose events pass our processor.
    """
    return structlog.wrap_logger(
        captured,
        processors=[
            structlog.contextvars.merge_contextvars,
            add_session_context,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


@pytest.fixture(autouse=True)
def nothing_of_structlog_is_left() -> Iterator[None]:
    """
    Take back what a test has configured.
    """
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def last(captured: CapturingLogger) -> dict[str, Any]:
    """
    The IDs of the last event.
    """
    event = json.loads(captured.calls[-1].args[0])
    return {name: value for name, value in event.items() if name.endswith("_id")}


def raised(policy: Policy | None = None) -> Exception:
    """
    The exception of a request that has failed, as a server gets it.
    """

    def boom(environ: Any, start_response: Any) -> Any:
        identify(user_id="alice", tenant_id="acme")
        raise LookupError("gone")

    try:
        SessionContextMiddleware(boom, policy)({"HTTP_X_SESSION_ID": "s1"}, lambda *_: print)
    except LookupError as error:
        return error
    raise AssertionError


def test_an_event_has_the_ids_in_force(logger: Any, captured: CapturingLogger) -> None:
    """
    R11, R15: an event has what is bound when it is logged, and no key for what is unset.
    """
    bound_early = logger.bind(order=1)
    with session_context("s1", user_id="alice"):
        bound_early.info("inside")
        assert last(captured) == {"session_id": "s1", "user_id": "alice"}
    bound_early.info("outside")
    assert last(captured) == {}


@pytest.mark.parametrize("method", ["debug", "info", "warning", "error", "critical"])
def test_what_the_application_says_wins(
    logger: Any, captured: CapturingLogger, method: str
) -> None:
    """
    Keys of the event, of the logger and of its contextvars stay, at every level.
    """
    structlog.contextvars.bind_contextvars(tenant_id="of the context")
    with session_context("s1", user_id="alice", tenant_id="acme"):
        getattr(logger.bind(user_id=7), method)("x", session_id=None)
    assert last(captured) == {"session_id": None, "user_id": 7, "tenant_id": "of the context"}


def test_sinks_and_declared_ids(logger: Any, captured: CapturingLogger) -> None:
    """
    R10, S25: the policy in force says which IDs there are and how they are shown.
    """
    undo = use_policy(Policy(extra=[request_spec()]))
    with session_context("s1", request_id="r1"):
        logger.info("x")
    undo()
    assert last(captured) == {"session_id": "s1", "request_id": "r1"}
    undo = use_policy(HASHING)
    with session_context("s1", user_id="alice", tenant_id="acme"):
        logger.info("x")
    undo()
    assert last(captured) == {
        "session_id": "s1",
        "user_id": checked_policy(HASHING).pseudonym("user_id", "alice"),
    }


@pytest.mark.parametrize("how", ["exception", "tuple", "true"])
def test_an_exception_has_the_ids_of_its_request(
    logger: Any, captured: CapturingLogger, how: str
) -> None:
    """
    Defect 4.19: where nothing is bound any more, the IDs are those that the exception carries.
    """
    try:
        raise raised(HASHING)
    except LookupError as error:
        given = {"exception": error, "tuple": (type(error), error, None), "true": True}[how]
        logger.critical("by the server", exc_info=given)
        shown = checked_policy(HASHING).pseudonym("user_id", "alice")
        assert last(captured) == {"session_id": "s1", "user_id": shown}
        with session_context("s2"):
            logger.critical("by somebody who has IDs", exc_info=given)
        assert last(captured) == {"session_id": "s2"}
    logger.bind(exc_info=True).error("nothing to see")
    assert last(captured) == {}


def test_async_methods_and_tasks(logger: Any, captured: CapturingLogger) -> None:
    """
    R1, R11: ``ainfo``, which logs in another thread, has the IDs of the task that called it.
    """

    async def one(number: int) -> None:
        with session_context(f"s{number}"):
            await logger.ainfo(f"s{number}")

    async def every() -> None:
        await asyncio.gather(*(one(number) for number in range(10)))

    asyncio.run(every())
    events = [json.loads(call.args[0]) for call in captured.calls]
    assert len(events) == 10
    assert all(event["event"] == event["session_id"] for event in events)


def formatted(*, pre_chain: list[Any]) -> tuple[logging.Logger, logging.Handler, io.StringIO]:
    """
    A logger of the standard library's whose lines structlog writes, as its guide shows.
    """
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=pre_chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger = logging.Manager(logging.RootLogger(logging.DEBUG)).getLogger("app")
    logger.addHandler(handler)
    return logger, handler, stream


def test_records_of_the_standard_library(logger: Any) -> None:
    """
    Through ``ProcessorFormatter`` a server's record has its IDs as well.
    """
    plain, _, stream = formatted(pre_chain=[add_session_context])
    with session_context("s1"):
        plain.info("x")
    plain.error("by the server", exc_info=raised())
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {"event": "x", "session_id": "s1"}
    assert (second["session_id"], second["user_id"]) == ("s1", "alice")


def test_a_record_keeps_what_it_was_made_with() -> None:
    """
    With ``logging.install``, a record behind a queue keeps its IDs.
    """
    _, handler, stream = formatted(pre_chain=[add_session_context])
    records: queue.Queue[Any] = queue.Queue()
    plain = logging.Manager(logging.RootLogger(logging.DEBUG)).getLogger("app")
    plain.addHandler(logging.handlers.QueueHandler(records))
    undo = install()
    with session_context("s1"):
        plain.info("x")
    with session_context("s2", user_id="bob"):
        handler.handle(records.get_nowait())
    undo()
    assert json.loads(stream.getvalue()) == {"event": "x", "session_id": "s1"}


def test_structlog_over_the_standard_library() -> None:
    """
    Events that structlog passes on as ``extra`` meet our names without KeyError.
    """
    plain, handler, stream = formatted(pre_chain=[])
    handler.setFormatter(logging.Formatter("%(session_id)s %(user_id)s %(message)s"))
    over = structlog.wrap_logger(
        plain,
        processors=[add_session_context, structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    undo = install()
    with session_context("s1", user_id="alice"):
        over.warning("x", user_id=7)
    undo()
    assert stream.getvalue() == "s1 7 x\n"


def test_a_failure_fails_no_line(logger: Any, captured: CapturingLogger) -> None:
    """
    R14: an event that we cannot complete is logged as it is; under test the failure is raised.
    """
    logger.error("x", exc_info=(ValueError,))
    assert last(captured) == {}
    assert failures == {"structlog processor": 1}
    with raise_failures(), pytest.raises(IndexError):
        add_session_context(None, "error", {"exc_info": (ValueError,)})


def test_a_formatter_on_the_queue_handler() -> None:
    """
    Seeds, finding 10: formatted where it is logged, each event has its IDs behind a queue too.
    """
    shared: list[Any] = [add_session_context]
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(waiting)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger = logging.getLogger("behind a queue")
    logger.handlers[:], logger.propagate = [handler], False
    wrapped = structlog.wrap_logger(
        logger, processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    )
    with session_context("s1"):
        wrapped.warning("of structlog")
        logger.warning("of the standard library")
    logger.handlers.clear()
    assert [json.loads(waiting.get_nowait().getMessage()) for _ in range(2)] == [
        {"event": "of structlog", "session_id": "s1"},
        {"event": "of the standard library", "session_id": "s1"},
    ]
