"""
What a log record costs with the IDs, in process, as ratios.

    python benchmarks/logging_records.py [--quick] [--processes 3]

Every ratio compares candidates of one interleaved run; the median over
several processes counts. Needs nothing but the package.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from time import perf_counter_ns
from typing import Any

from processes import run_in_processes

from idlanyard import identify
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.logging import install

RecordFactory = Callable[..., logging.LogRecord]
Cost = Callable[[RecordFactory, int], float]
Ratios = dict[str, float]

IDS = {"session_id": "s1", "user_id": "alice", "tenant_id": "acme"}
FOREIGN = 100
TARGETS: dict[str, tuple[str, float]] = {
    "record / record with three constants": ("<=", 1.5),
    "line / line with three constants": ("<=", 1.5),
    "record, 100 foreign ContextVars / none": ("<=", 1.05),
}


def constants(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """
    Make a record that has three constants besides.
    """
    record = logging.LogRecord(*args, **kwargs)
    record.session_id = IDS["session_id"]
    record.user_id = IDS["user_id"]
    record.tenant_id = IDS["tenant_id"]
    return record


def factories() -> dict[str, RecordFactory]:
    """
    Return what is compared; nothing of it stays in place.
    """
    before = logging.getLogRecordFactory()
    install()
    ours = logging.getLogRecordFactory()
    logging.setLogRecordFactory(before)
    return {"bare": logging.LogRecord, "constants": constants, "idlanyard": ours}


def in_request() -> Context:
    """
    Return the Context of a request that has all three IDs.
    """
    found: list[Context] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        identify(user_id=IDS["user_id"], tenant_id=IDS["tenant_id"])
        found.append(copy_context())

    headers = [(b"x-session-id", IDS["session_id"].encode())]
    coroutine = SessionContextMiddleware(app)({"type": "http", "headers": headers}, None, None)
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    return found[0]


def crowded(context: Context, foreign: int = FOREIGN) -> Context:
    """
    Return a copy of *context* in which many variables of others are set.
    """
    copied = context.copy()
    for number in range(foreign):
        copied.run(ContextVar[int](f"foreign_{number}").set, number)
    return copied


class Formatting(logging.Handler):
    """
    Formats every record, and writes it nowhere.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """
        Format the record.
        """
        self.format(record)


def record_cost(factory: RecordFactory, number: int) -> float:
    """
    Return the nanoseconds that it takes to make a record.
    """
    start = perf_counter_ns()
    for _ in range(number):
        factory("app", logging.INFO, "app.py", 1, "paid %s", ("7",), None, "pay", None)
    return (perf_counter_ns() - start) / number


def line_cost(factory: RecordFactory, number: int) -> float:
    """
    Return the nanoseconds that it takes to log a line and format it.
    """
    handler = Formatting()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.Manager(logging.RootLogger(logging.INFO)).getLogger("app")
    logger.addHandler(handler)
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        start = perf_counter_ns()
        for _ in range(number):
            logger.info("paid %s", "7")
        return (perf_counter_ns() - start) / number
    finally:
        logging.setLogRecordFactory(before)
        handler.close()


def costs(cost: Cost, context: Context, rounds: int, number: int = 200) -> dict[str, float]:
    """
    Return the median cost of each factory in *context*, their rounds interleaved.
    """
    candidates = factories()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, factory in candidates.items():
            times[name].append(context.run(cost, factory, number))
    return {name: statistics.median(values) for name, values in times.items()}


def crowding(rounds: int, number: int = 200) -> float:
    """
    Return what a record costs beside many foreign variables, against none.
    """
    ours = factories()["idlanyard"]
    alone = in_request()
    beside = crowded(alone)
    times: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for context, values in zip((alone, beside), times, strict=True):
            values.append(context.run(record_cost, ours, number))
    return statistics.median(times[1]) / statistics.median(times[0])


def measured(rounds: int) -> Ratios:
    """
    Return every figure of one process.
    """
    context = in_request()
    record = costs(record_cost, context, rounds)
    line = costs(line_cost, context, rounds)
    return {
        "record / record with three constants": record["idlanyard"] / record["constants"],
        "line / line with three constants": line["idlanyard"] / line["constants"],
        "record, 100 foreign ContextVars / none": crowding(rounds),
        "record / bare record": record["idlanyard"] / record["bare"],
    }


def main() -> None:
    run_in_processes(__file__, __doc__.splitlines()[1], measured, TARGETS, rounds=200)


if __name__ == "__main__":
    main()
