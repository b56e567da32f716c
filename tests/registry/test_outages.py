"""
A known outage: told once, its end once, and answered at once for a moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionRegistry,
)
from idlanyard.registry._memory import AsyncMemoryStore, MemoryStore
from idlanyard.registry._outages import Outages
from idlanyard.registry._questions import Question, Read
from idlanyard.registry._urls import Opened
from idlanyard.registry._verbs import Verbs

TIMEOUT = 4.0
READ = Read(b"")
UNAVAILABLE = "idlanyard: the session registry's redis store is unavailable"
CAUSE = "OOM command not allowed"


class Clock:
    """
    The moment, which only the test moves.
    """

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Failing(MemoryStore):
    """
    A store whose reads and writes fail as the test wants, after so many seconds.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.reads: tuple[float, bool] | None = None
        self.writes: tuple[float, bool] | None = None
        self.asked = 0

    def _fail(self, how: tuple[float, bool] | None) -> None:
        self.asked += 1
        if how is not None:
            self.clock.now += how[0]
            raise RegistryUnavailable("redis", stale=how[1]) from ConnectionError(
                f"{CAUSE}\nand a second line"
            )

    def ask(self, question: Question[Any]) -> Any:
        self._fail(self.reads if question.kind == "reads" else self.writes)
        return super().ask(question)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Failing:
    return Failing(clock)


def registry_of(store: Failing, *, remembers: bool = True) -> SessionRegistry:
    """
    Return a registry on the store.
    """
    outages = Outages("redis", timeout=TIMEOUT, remembers=remembers, clock=store.clock)
    return SessionRegistry(Opened(store, outages, "redis"), Verbs())


def refused(ask: Callable[[], object]) -> RegistryUnavailable:
    """
    Return what a verb raises that is unavailable.
    """
    with pytest.raises(RegistryUnavailable) as raised:
        ask()
    return raised.value


def fail_after(seconds: float, outages: Outages, clock: Clock) -> None:
    """
    Make a read fail after waiting so long.
    """
    began = outages.begin(READ)
    clock.now += seconds
    outages.fail(READ, RegistryUnavailable("redis"), began)


def test_an_outage_is_told_once_and_its_end_once(
    store: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The first failure is logged with its cause in its first line, and the answer that ends it.
    """
    registry = registry_of(store)
    store.reads = (0.0, False)
    for _ in range(5):
        refused(lambda: registry.exists("s"))
    store.reads = None
    store.clock.now += 12.5
    for _ in range(5):
        registry.exists("s")
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (
            logging.ERROR,
            f"{UNAVAILABLE} for reads: ConnectionError: {CAUSE}",
        ),
        (
            logging.WARNING,
            "idlanyard: the session registry's redis store answers again, after 12.5 seconds",
        ),
    ]
    assert caplog.records[0].exc_info is not None


def test_reads_that_work_do_not_end_an_outage_of_writes(
    store: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Twenty failing creates between twenty good reads are one outage, which a create ends.
    """
    registry = registry_of(store)
    store.writes = (0.0, False)
    for _ in range(20):
        refused(registry.create)
        registry.exists("s")
    assert len(caplog.records) == 1
    assert "is unavailable for writes: ConnectionError" in caplog.text
    store.writes = None
    registry.create()
    assert "answers again" in caplog.messages[-1]
    assert len(caplog.records) == 2


def test_one_outage_of_both_is_one(store: Failing, caplog: pytest.LogCaptureFixture) -> None:
    """
    If reads and writes fail, one line says so, and the end is logged when both are answered.
    """
    registry = registry_of(store)
    store.reads = store.writes = (0.0, False)
    refused(lambda: registry.exists("s"))
    refused(registry.create)
    assert len(caplog.records) == 1
    store.reads = store.writes = None
    registry.exists("s")
    assert len(caplog.records) == 1
    registry.create()
    assert "answers again" in caplog.messages[-1]


def test_a_cause_without_words_is_named_by_its_kind(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The first line names the kind of an error that has no message.
    """
    outages = Outages("redis", timeout=TIMEOUT, remembers=True, clock=clock)
    error = RegistryUnavailable("redis")
    error.__cause__ = TimeoutError()
    outages.fail(READ, error, outages.begin(READ))
    assert caplog.messages[0].endswith("for reads: TimeoutError")


def test_a_known_outage_is_answered_at_once(store: Failing) -> None:
    """
    After one wait for nothing, questions are answered at once for a second; then one tries.
    """
    registry = registry_of(store)
    store.reads = (TIMEOUT, False)
    first = refused(lambda: registry.exists("s"))
    began = store.clock.now
    for _ in range(10):
        again = refused(lambda: registry.exists("s"))
        assert again.__cause__ is first.__cause__
    assert (store.asked, store.clock.now) == (1, began)
    store.clock.now += 1.0
    refused(lambda: registry.exists("s"))
    assert (store.asked, store.clock.now) == (2, began + 1.0 + TIMEOUT)
    refused(lambda: registry.exists("s"))
    store.reads = None
    store.clock.now += 1.0
    assert not registry.exists("s")
    assert not registry.exists("s")


def test_while_one_tries_the_others_do_not_wait(clock: Clock) -> None:
    """
    A question that tries the store after a moment is the only one until it is answered.
    """
    outages = Outages("redis", timeout=TIMEOUT, remembers=True, clock=clock)
    fail_after(TIMEOUT, outages, clock)
    clock.now += 1.0
    outages.begin(READ)
    with pytest.raises(RegistryUnavailable):
        outages.begin(READ)
    outages.end(READ)
    outages.begin(READ)
    assert not outages.known


@pytest.mark.parametrize(
    ("seconds", "stale", "remembers"),
    [
        pytest.param(0.1, False, True, id="refused at once"),
        pytest.param(TIMEOUT, True, True, id="a connection died in the pool"),
        pytest.param(TIMEOUT, False, False, id="a file is locked"),
    ],
)
def test_what_is_no_known_outage_is_asked_again(
    store: Failing, seconds: float, stale: bool, remembers: bool
) -> None:
    """
    A failure that costs no time, or says nothing about the server, closes no way.
    """
    registry = registry_of(store, remembers=remembers)
    store.reads = (seconds, stale)
    refused(lambda: registry.exists("s"))
    store.reads = None
    assert not registry.exists("s")


def test_a_second_wait_in_a_row_is_an_outage(store: Failing) -> None:
    """
    An outage is known if a connection died in the pool and the next one gets no answer either.
    """
    registry = registry_of(store)
    store.reads = (TIMEOUT, True)
    for _ in range(5):
        refused(lambda: registry.exists("s"))
    assert store.asked == 2


def test_waits_side_by_side_are_not_in_a_row(clock: Clock) -> None:
    """
    Many stale connections that were waited for at the same time are one wait.
    """
    outages = Outages("redis", timeout=TIMEOUT, remembers=True, clock=clock)
    moments = [outages.begin(READ) for _ in range(10)]
    clock.now += TIMEOUT
    for began in moments:
        outages.fail(READ, RegistryUnavailable("redis", stale=True), began)
    outages.begin(READ)


def test_writes_are_not_held_up_by_reads(store: Failing) -> None:
    """
    A known outage of reads lets writes be asked.
    """
    registry = registry_of(store)
    store.reads = (TIMEOUT, False)
    refused(lambda: registry.exists("s"))
    assert registry.create("s").session_id == "s"


def test_a_wrong_setting_is_no_outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """
    A misconfigured store is not remembered as an outage, nor logged as one.
    """

    class Wrong(MemoryStore):
        def ask(self, question: Question[Any]) -> Any:
            raise RegistryMisconfigured("redis", "the password is wrong")

    outages = Outages("redis", timeout=TIMEOUT, remembers=True, clock=clock)
    registry = SessionRegistry(Opened(Wrong(), outages, "redis"), Verbs())
    with pytest.raises(RegistryMisconfigured):
        registry.exists("s")
    assert not outages.known
    assert not caplog.records


def test_the_awaited_registry_remembers_too(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """
    Both registries know the same about an outage.
    """

    class Down(AsyncMemoryStore):
        async def ask(self, question: Question[Any]) -> Any:
            clock.now += TIMEOUT
            raise RegistryUnavailable("redis") from ConnectionError(CAUSE)

    outages = Outages("redis", timeout=TIMEOUT, remembers=True, clock=clock)
    registry = AsyncSessionRegistry(Opened(Down(), outages, "redis"), Verbs())

    async def ask() -> None:
        for _ in range(3):
            with pytest.raises(RegistryUnavailable):
                await registry.exists("s")

    asyncio.run(ask())
    assert clock.now == 100.0 + TIMEOUT
    assert len(caplog.records) == 1
