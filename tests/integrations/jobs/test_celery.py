"""
Celery: the contract, eager and nested tasks, workflows, beat and prefork.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish, task_failure

from idlanyard import (
    SessionContext,
    dump,
    get_session_context,
    get_user_id,
    identify,
    session_context,
)
from idlanyard._binding.functions import SteppedBinding
from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard._binding.state import make_request_ids
from idlanyard.ids import Provenance
from idlanyard.integrations.celery import install
from integrations.jobs.broker import working
from integrations.jobs.contract import RetryingContract, fresh, only
from integrations.jobs.work import wait

WORKER = ("celery", "-A", "integrations.jobs.on_celery", "worker", "--loglevel", "WARNING")
SOLO = (*WORKER, "--pool", "solo", "--without-gossip", "--without-mingle")


class TestCelery(RetryingContract):
    """
    The contract on Celery, whose tasks are sync.
    """

    command = SOLO
    kinds = ("sync",)

    def send(self, operation: str, key: str, *, kind: str = "sync") -> None:
        from integrations.jobs import on_celery

        if operation == "fail":
            on_celery.fail.delay(key)
        else:
            on_celery.do.delay(operation, key)

    def send_with(self, carrier: object, key: str) -> None:
        from integrations.jobs import on_celery

        headers: dict[str, Any] = {"idlanyard": carrier}
        on_celery.look.apply_async((key,), headers=headers)

    def test_a_workflow_has_the_ids_throughout(self) -> None:
        """
        Chains, groups, chords and their callbacks have the sender's IDs.
        """
        from integrations.jobs import on_celery

        key = fresh()
        workflow, times = on_celery.workflows(key)
        with session_context("s1", user_id="u1"):
            workflow.apply_async()
            on_celery.look.apply_async((key,), link=on_celery.look.si(key))
        noted = [only(key) for _ in range(times + 2)]
        assert noted == [{"session_id": "s1", "user_id": "u1"}] * (times + 2)

    def test_callbacks_of_errors_have_the_ids(self) -> None:
        """
        A task that is linked to the failure of another has its IDs.
        """
        from integrations.jobs import on_celery

        key, linked = fresh(), fresh()
        with session_context("s1"):
            on_celery.fail.apply_async((key,), link_error=on_celery.look.si(linked))
        assert only(key) == only(linked) == {"session_id": "s1"}

    def test_beat_sends_nothing(self, tmp_path: Path) -> None:
        """
        A task that beat sends has no IDs, since no request stands behind it.
        """
        command = (
            "celery",
            "-A",
            "integrations.jobs.on_celery",
            "beat",
            "--schedule",
            str(tmp_path / "plan"),
        )
        with working(*command, output=tmp_path / "output"):
            assert wait("beat") == {"ids": {}, "how": {}}


class TestCeleryInProcesses(RetryingContract):
    """
    The contract on Celery's prefork pool.
    """

    command = (*WORKER, "--pool", "prefork", "--concurrency", "2")
    kinds = ("sync",)
    send = TestCelery.send
    send_with = TestCelery.send_with


TASKS = """
import logging
from integrations.jobs.work import note

@app.task(name="order")
def order():
    logging.getLogger("shop").warning("an order")

@app.task(name="boom")
def boom():
    raise LookupError

@app.task(name="end")
def end(key):
    note(key)
"""


def test_the_log_formats_of_the_page(broker: str, tmp_path: Path) -> None:
    """
    With the block of the page, lines of a worker have the IDs of the task, and a
    dash outside tasks.
    """
    page = Path(__file__).parents[3].joinpath("docs", "celery.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "worker_log_format" in block]
    tmp_path.joinpath("shop.py").write_text(block.replace("redis://localhost", broker) + TASKS)
    output, key = tmp_path / "output", fresh()
    command = ("celery", "-A", "shop", "worker", "--loglevel", "INFO", "--queues", "lines")
    sender = Celery("sender", broker=broker, set_as_current=False)
    with working(*command, *SOLO[SOLO.index("--pool") :], output=output):
        with session_context("s1", user_id="alice"):
            for name in ("order", "boom", "end"):
                given = [key] if name == "end" else []
                sender.send_task(name, given, queue="lines", headers={"idlanyard": dump()})
        assert wait(key)["ids"] == {"session_id": "s1", "user_id": "alice"}
    text = output.read_text(encoding="utf-8")
    for line in [
        r"INFO - - celery@",
        r"WARNING s1 alice an order",
        r"INFO s1 alice Task order\[.*\] succeeded",
        r"ERROR s1 alice Task boom\[.*\] raised",
    ]:
        assert re.search(line, text), f"{line} not in\n{text}"
    assert "Formatting field not found" not in text


@pytest.fixture
def app() -> Iterator[Celery]:
    """
    Return an application that runs its tasks at once.
    """
    eager = Celery("eager", broker="memory://", set_as_current=False)
    eager.conf.update(task_always_eager=True, task_eager_propagates=True)
    undo = install(eager)
    yield eager
    undo()


def request_of(**ids: str) -> SteppedBinding:
    """
    Return the block of a request with these IDs, in a scope.
    """
    delta = {name: (value, Provenance.PEER) for name, value in ids.items()}
    return SteppedBinding(make_request_ids(DEFAULT_POLICY, delta))


def test_an_eager_task_has_the_ids_of_its_caller(app: Celery) -> None:
    """
    Defect 4.10, R13: run at once in a request, a task inherits, and the request keeps its IDs.
    """

    @app.task
    def look() -> SessionContext:
        found = get_session_context()
        assert found.provenance("user_id") is Provenance.PEER
        identify(user_id="job")
        assert get_user_id() == "job"
        return found

    with request_of(session_id="s1", user_id="u1"):
        for run in (look.delay, look.apply):
            assert run().get() == SessionContext("s1", "u1")
            assert get_session_context() == SessionContext("s1", "u1")


def test_an_eager_task_outside_of_everything_leaves_nothing(app: Celery) -> None:
    """
    R13, S27: an eager task in a script sees nothing, and what it identifies ends with it.
    """

    @app.task
    def name() -> bool:
        empty = get_session_context().is_empty()
        identify(user_id="job")
        return empty

    assert name.delay().get() is True
    assert get_session_context().is_empty()


def test_tasks_inside_each_other_restore_theirs(app: Celery) -> None:
    """
    Defect 4.10: a task inside a task, and one inside itself, gives the outer one's IDs back.
    """

    @app.task
    def nested(depth: int) -> list[str | None]:
        identify(user_id=f"u{depth}")
        inner: Any = nested.apply((depth - 1,)).result if depth else []
        return [get_user_id(), *inner]

    with request_of(session_id="s1", user_id="u9"):
        assert nested.delay(3).get() == ["u3", "u2", "u1", "u0"]
        assert get_user_id() == "u9"


def test_a_task_called_as_a_function_is_one(app: Celery) -> None:
    """
    R13: calling a task directly changes nothing about what is bound.
    """

    @app.task
    def rename() -> None:
        identify(user_id="called")

    with request_of(session_id="s1", user_id="u1"):
        rename()
        assert get_user_id() == "called"


def test_an_eager_task_that_fails_or_tries_again_restores(app: Celery) -> None:
    """
    Defect 4.10: also after an exception and an eager retry the caller has its IDs.
    """
    tried: list[str | None] = []

    @app.task(bind=True, max_retries=2, default_retry_delay=0)
    def stubborn(self: Any) -> None:
        tried.append(get_user_id())
        identify(user_id="job")
        raise self.retry(exc=LookupError())

    app.conf.task_eager_propagates = False
    with request_of(session_id="s1", user_id="u1"):
        assert isinstance(stubborn.delay().result, LookupError)
        assert get_user_id() == "u1"
    assert tried == ["u1", "u1", "u1"]


@pytest.mark.parametrize("given", ["text", ["user_id", "admin"], 5, None])
def test_a_header_that_is_no_carrier_is_replaced(given: Any) -> None:
    """
    S27: a client's headers handed over to a task neither name a user nor hide the sender's IDs.
    """
    app = Celery("jobs", broker="memory://")
    undo = install(app)
    published: list[Any] = []

    def note(headers: Any, **_: Any) -> None:
        published.append(headers.get("idlanyard"))

    @app.task
    def look() -> None: ...

    before_task_publish.connect(note, weak=False)
    try:
        with session_context("s1"):
            look.apply_async(headers={"idlanyard": given})
        look.apply_async(headers={"idlanyard": given})
    finally:
        before_task_publish.disconnect(note)
        undo()
    assert published == [{"session_id": ["s1", "code"]}, None]


def test_headers_of_an_eager_task_are_checked(app: Celery) -> None:
    """
    S27: an eager task that was given a carrier has that one, and another kind of headers is none.
    """

    @app.task
    def look() -> SessionContext:
        found = get_session_context()
        identify(user_id="job")
        return found

    with request_of(session_id="s1", user_id="u1"):
        given: Any = {"idlanyard": {"session_id": "s2"}}
        assert look.apply(headers=given).get() == SessionContext("s2")
        other: Any = ["idlanyard"]
        assert look.apply(headers=other).get() == SessionContext("s1", "u1")
        assert get_user_id() == "u1"


def test_signals_of_the_task_see_its_ids(app: Celery) -> None:
    """
    R11: who listens for failures, and logs them, reads the IDs of the task.
    """
    heard: list[SessionContext] = []

    @app.task
    def boom() -> None:
        identify(user_id="job")
        raise LookupError

    def listen(**_: Any) -> None:
        heard.append(get_session_context())

    task_failure.connect(listen)
    app.conf.task_eager_propagates = False
    try:
        with request_of(session_id="s1"):
            boom.delay()
    finally:
        task_failure.disconnect(listen)
    assert heard == [SessionContext("s1", "job")]


def test_what_is_installed_is_taken_back_once() -> None:
    """
    R11: undo disconnects, twice changes nothing, and a later installation stays.
    """
    eager = Celery("undone", set_as_current=False)
    eager.conf.update(task_always_eager=True)

    @eager.task
    def name() -> None:
        identify(user_id="job")

    def leaves() -> bool:
        with request_of(session_id="s1", user_id="u1"):
            name.delay()
            return get_user_id() == "job"

    undo = install(eager)
    again = install(eager)
    assert not leaves()
    undo()
    again()
    assert leaves()
    later = install(eager)
    undo()
    assert not leaves()
    later()


def test_two_applications_have_it_each(app: Celery) -> None:
    """
    R11: taken back from one application, it stays with the other.
    """
    other = Celery("other", set_as_current=False)
    other.conf.update(task_always_eager=True)
    undo_other = install(other)

    def name() -> None:
        identify(user_id="job")

    tasks = [one.task(name="name")(name) for one in (app, other)]
    with request_of(session_id="s1", user_id="u1"):
        for task in tasks:
            task.delay()
            assert get_user_id() == "u1"
        undo_other()
        tasks[0].delay()
        assert get_user_id() == "u1"


def test_what_is_installed_in_a_task_begins_with_the_next() -> None:
    """
    R3: a task that was not entered is not left, and keeps what was bound around it.
    """
    eager = Celery("late", set_as_current=False)
    eager.conf.update(task_always_eager=True)
    undone: list[Callable[[], None]] = []

    @eager.task
    def late() -> None:
        undone.append(install(eager))

    with request_of(session_id="s1", user_id="u1"):
        late.delay()
        assert get_user_id() == "u1"
    for undo in undone:
        undo()


def test_an_application_without_it_stays_as_it_is(app: Celery) -> None:
    """
    R11: installed for one application, the tasks of another one are not touched.
    """
    other = Celery("other", set_as_current=False)
    other.conf.update(task_always_eager=True)

    @other.task
    def name() -> None:
        identify(user_id="job")

    with request_of(session_id="s1", user_id="u1"):
        name.delay()
        assert get_user_id() == "job"


def test_only_an_application_is_installed() -> None:
    """
    R14: something else is refused by a sentence that says what to hand over.
    """
    with pytest.raises(TypeError, match="takes the Celery application, not str"):
        install("tasks")  # type: ignore[arg-type]
