"""
``move``: between any two stores, whatever happens to the sessions, the stores or the command.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from idlanyard.registry import RegistryUnavailable, SessionNotFound, SessionRegistry
from idlanyard.registry._checks import make_key
from idlanyard.registry._command._moving import Lease, move
from idlanyard.registry._command._places import LEASE_ID, Place
from idlanyard.registry._command._printing import Printer
from idlanyard.registry._command._statuses import Failed, Undone, UsageError
from idlanyard.registry._memory import MemoryStore
from idlanyard.registry._questions import Delete, Extend, Put, Question, Read, Walk
from idlanyard.registry._record import Kept, Row, Stretch
from registry.commanding import (
    COMMAND,
    Done,
    kept_in,
    place_of,
    process,
    put_into,
    ran,
    sample,
    streams_of,
    text_of,
)
from registry.naming import DEADLINE, eventually
from registry.postgres import PostgreSQL, database, own_server, postgres
from registry.valkey import Valkey

__all__ = ["database", "own_server", "postgres"]

HOUR = 3_600_000_000
Kinds: TypeAlias = tuple[type[Question[Any]], ...]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """
    Return the URLs of two files, neither of which is there.
    """
    return f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/target.db"


def held_by(store: Any) -> dict[str, Kept]:
    """
    Return what a store in memory keeps, by the sessions' IDs.
    """
    return {kept.session_id: kept for kept in store.ask(Walk(None, 10**6)).sessions}


def by_id(sessions: Sequence[Kept]) -> dict[str, Kept]:
    """
    Return sessions by their IDs.
    """
    return {kept.session_id: kept for kept in sessions}


def filled(store: MemoryStore, sessions: Sequence[Kept]) -> MemoryStore:
    """
    Put sessions into a store in memory.
    """
    assert set(store.ask(Put(sessions))) <= {"kept"}
    return store


def place_for(store: MemoryStore) -> Place:
    """
    Return what a command calls the place of a store in memory.
    """
    place = place_of("memory://")
    place.store = store
    return place


def moved(source: Any, target: Any, **options: Any) -> Done:
    """
    Move between two stores in memory.
    """
    streams = streams_of()
    printer = Printer(streams, (), is_json=False)
    status = move(place_for(source), place_for(target), printer, timeout=5.0, **options)
    return Done(status, text_of(streams.out), text_of(streams.err))


# What is moved.


def test_every_field_is_moved(files: tuple[str, str]) -> None:
    """
    A move brings every field of every session to the other store, and empties the first.
    """
    source, target = files
    put_into(source, sample(1203))
    done = ran("move", source, target)
    assert done == Done(0, "moved 1203 sessions (0 taken, 0 expired, 0 ended)\n", "")
    assert kept_in(target) == by_id(sample(1203))
    assert kept_in(source) == {}
    assert ran("move", source, target, "--json").document() == {
        "moved": 0, "taken": 0, "expired": 0, "ended": 0, "taken_ids": []
    }  # fmt: skip


def test_a_copy_leaves_the_source(files: tuple[str, str]) -> None:
    """
    With ``--copy`` both have every session; and again is harmless.
    """
    source, target = files
    put_into(source, sample(20))
    for _ in range(2):
        done = ran("move", "--copy", source, target)
        first, second = done.out.splitlines()
        assert (done.status, done.err) == (0, "")
        assert first == "copied 20 sessions (0 taken, 0 expired, 0 ended)"
        assert second.startswith("when the service uses it: move --copied-at 20")
    assert kept_in(target) == kept_in(source) == by_id(sample(20))


def test_a_move_to_another_namespace(files: tuple[str, str]) -> None:
    """
    One database may be both sides, where the namespaces differ.
    """
    put_into(files[0], sample(9))
    words = ["--namespace", "idlanyard", "--to-namespace", "other"]
    assert ran("move", *words, files[0], files[0]).status == 0
    assert kept_in(files[0], namespace="other") == by_id(sample(9))
    assert kept_in(files[0]) == {}


def test_the_source_may_come_from_the_environment(files: tuple[str, str]) -> None:
    """
    With one URL it is the target; both may be variables.
    """
    source, target = files
    put_into(source, sample(3))
    assert ran("move", "env:NEW", environ={"IDLANYARD_REGISTRY_URL": source, "NEW": target}) == (
        Done(0, "moved 3 sessions (0 taken, 0 expired, 0 ended)\n", "")
    )


def test_what_is_taken_stays(files: tuple[str, str]) -> None:
    """
    An ID that another session has in the target is reported, and stays where it is.
    """
    source, target = files
    put_into(source, sample(5))
    taken = sample(5)[2]
    other = taken._replace(created=taken.created + 1)
    put_into(target, [other])
    done = ran("move", source, target)
    assert done.status == 1
    assert done.out == "moved 4 sessions (1 taken, 0 expired, 0 ended)\n"
    assert done.err == (
        "'s000002' stays: another session has its ID or its idempotency key in the target\n"
    )
    assert kept_in(source) == {"s000002": taken}
    assert kept_in(target)["s000002"] == other
    assert ran("move", source, target, "--json").document()["taken_ids"] == ["s000002"]


def test_many_that_are_taken_are_not_all_named() -> None:
    """
    The first thousand taken IDs are named, and the others counted.
    """
    sessions = sample(1100)
    source = filled(MemoryStore(), sessions)
    target = filled(MemoryStore(), [one._replace(created=one.created + 1) for one in sessions])
    done = moved(source, target)
    assert done.status == 1
    lines = done.err.splitlines()
    assert (len(lines), lines[-1]) == (1001, "and 100 more")


# A move without a pause: copy, switch, move.


def test_a_copy_is_completed_while_the_target_is_used(files: tuple[str, str]) -> None:
    """
    After a copy the target's touches and ends count, and what the source has newer is brought.
    """
    old, new = files
    sessions = [kept._replace(expires=kept.ttl and HOUR * 10**6) for kept in sample(6)]
    put_into(old, sessions)
    names = [kept.session_id for kept in sessions]
    copied = ran("move", "--copy", old, new, "--json").document()["copied_at"]
    with SessionRegistry.open(old) as registry:
        late = registry.touch(names[1], ttl=3 * 10**9, metadata={"touched": "in the old one"})
        registry.end(names[0])
        made = registry.create("made in the old one")
    with SessionRegistry.open(new) as registry:
        registry.end(names[2])
        registry.end(names[3])
        successor = registry.create(names[3])
        touched = registry.touch(names[4], ttl=3 * 10**9, metadata={"touched": "in the new one"})
        registry.end(names[0])
    done = ran("move", "--copied-at", copied, old, new)
    assert done == Done(0, "moved 4 sessions (0 taken, 0 expired, 2 ended)\n", "")
    assert kept_in(old) == {}
    there = kept_in(new)
    assert there.keys() == {names[1], names[3], names[4], names[5], made.session_id}
    assert there[names[5]] == sessions[5]
    with SessionRegistry.open(new) as registry:
        for record in (late, touched, made, successor):
            assert registry.get(record.session_id) == record


def test_a_copy_is_not_also_the_move_after_it() -> None:
    """
    ``--copy`` and ``--copied-at`` are two steps.
    """
    with pytest.raises(UsageError, match="leave one of the two out"):
        moved(MemoryStore(), MemoryStore(), is_copy=True, copied_at=0)


# The same place.


@pytest.mark.parametrize("copy", [["--copy"], []], ids=["copy", "move"])
def test_one_place_by_two_names_is_refused(
    files: tuple[str, str], tmp_path: Path, copy: list[str]
) -> None:
    """
    A store is not moved into itself, by whatever name, and loses nothing.
    """
    source, _ = files
    put_into(source, sample(4))
    (tmp_path / "link.db").symlink_to(tmp_path / "source.db")
    names = (
        source,
        f"sqlite:///{tmp_path}/../{tmp_path.name}/source.db",
        f"sqlite:///{tmp_path}/link.db",
    )
    for name in names:
        done = ran("move", *copy, source, name)
        assert done.status == 2
        assert "the same place" in done.err
    assert kept_in(source) == by_id(sample(4))


def test_one_place_is_told_by_looking() -> None:
    """
    Nothing is moved between two URLs of one store, however different they look.
    """
    store = filled(MemoryStore(), sample(4))
    with pytest.raises(UsageError, match="the same place"):
        moved(store, store)
    assert held_by(store) == by_id(sample(4))


# What happens to sessions meanwhile.


class Meddled(MemoryStore):
    """
    A store in which something happens to its sessions when it is asked to read or delete one.

    Args:
        before_read: called with this store and a session's key before it is read.
        before_delete: the same before it is deleted.
    """

    def __init__(
        self,
        *,
        before_read: Callable[[MemoryStore, bytes], object] = lambda store, key: None,
        before_delete: Callable[[MemoryStore, bytes], object] = lambda store, key: None,
    ) -> None:
        super().__init__()
        self._before_read = before_read
        self._before_delete = before_delete

    def ask(self, question: Question[Any]) -> Any:
        """
        Answer a question after something else has happened.
        """
        if isinstance(question, Read):
            self._before_read(self, question.key)
        elif isinstance(question, Delete):
            self._before_delete(self, question.key)
        return super().ask(question)


def only(number: int) -> bytes:
    """
    Return the key of a session of the sample.
    """
    return make_key("x", sample(number + 1)[number].session_id)


def once(
    key: bytes, act: Callable[[MemoryStore], object]
) -> Callable[[MemoryStore, bytes], object]:
    """
    Return what does something when a session's key is asked for, the first time.
    """
    waiting = [key]

    def meddle(store: MemoryStore, asked: bytes) -> None:
        if asked in waiting:
            waiting.remove(asked)
            act(store)

    return meddle


def test_a_session_that_is_touched_meanwhile_is_moved_as_it_is() -> None:
    """
    A touch between the put and the delete is not lost, nor is the time to live that it set.
    """
    key, day = only(1), 24 * HOUR
    source = Meddled(
        before_read=once(
            key, lambda store: MemoryStore.ask(store, Extend(key, day, '{"b":2}', None))
        )
    )
    filled(source, sample(3))
    target = MemoryStore()
    assert moved(source, target).out.startswith("moved 3 sessions ")
    there = held_by(target)["s000001é"]
    assert (there.ttl, there.metadata, there.created) == (day, '{"b":2}', sample(3)[1].created)
    assert held_by(source) == {}


@pytest.mark.parametrize(
    ("number", "ttl", "kept"),
    [
        pytest.param(1, None, 2 * HOUR, id="the time that it had"),
        pytest.param(1, 24 * HOUR, 24 * HOUR, id="another time"),
        pytest.param(0, 24 * HOUR, 24 * HOUR, id="a time at last"),
        pytest.param(0, None, None, id="none"),
    ],
)
def test_a_session_that_is_touched_at_the_last_moment(
    number: int, ttl: int | None, kept: int | None
) -> None:
    """
    Also a touch right before the delete is followed: metadata, end and, nearly, time to live.
    """
    key, name = only(number), sample(2)[number].session_id
    touched: list[Row | None] = []

    def touch(store: MemoryStore) -> None:
        touched.append(MemoryStore.ask(store, Extend(key, ttl, '{"b":2}', None)))

    soon = time.time_ns() // 1000 + HOUR // 2
    sessions = [kept._replace(expires=kept.ttl and soon) for kept in sample(2)]
    source, target = filled(Meddled(before_delete=once(key, touch)), sessions), MemoryStore()
    assert moved(source, target).status == 0
    there = held_by(target)[name]
    assert [there.row()] == touched
    assert (there.ttl is None) == (kept is None)
    assert kept is None or abs((there.ttl or 0) - kept) < HOUR / 60


def test_a_session_that_is_touched_all_the_time_is_moved() -> None:
    """
    A session that changes at every look is moved in the end.
    """
    key, numbers = only(1), itertools.count()

    def touch(store: MemoryStore, asked: bytes) -> None:
        if asked == key:
            MemoryStore.ask(store, Extend(key, None, f'{{"n":{next(numbers)}}}', None))

    source, target = filled(Meddled(before_read=touch), sample(3)), MemoryStore()
    assert moved(source, target).status == 0
    assert held_by(source) == {}
    assert held_by(target)["s000001é"].metadata == f'{{"n":{next(numbers) - 1}}}'


@pytest.mark.parametrize("when", ["before_read", "before_delete"])
def test_a_session_that_ends_meanwhile_is_not_brought_back(when: str) -> None:
    """
    A session that is ended between the put and the delete is in neither store.
    """
    key = only(1)
    end = once(key, lambda store: MemoryStore.ask(store, Delete(key, None)))
    source, target = filled(Meddled(**{when: end}), sample(3)), MemoryStore()
    assert moved(source, target).out == "moved 2 sessions (0 taken, 0 expired, 1 ended)\n"
    assert held_by(source) == {}
    assert "s000001é" not in held_by(target)


@pytest.mark.parametrize("is_followed", [False, True], ids=["ended", "created anew"])
def test_a_session_that_was_touched_and_then_ends_is_not_brought_back(is_followed: bool) -> None:
    """
    A copy that waits for the next pass is taken back where its session ends before that.
    """
    sessions = sorted(sample(3), key=lambda kept: sha256(kept.session_id.encode()).digest())
    first, *others = sessions
    key, later = (sha256(kept.session_id.encode()).digest() for kept in (first, others[-1]))
    new = first._replace(created=first.created + 1)

    def end(store: MemoryStore) -> None:
        MemoryStore.ask(store, Delete(key, None))
        if is_followed:
            MemoryStore.ask(store, Put([new]))

    touch = once(key, lambda store: MemoryStore.ask(store, Extend(key, HOUR, '{"b":2}', None)))
    source = filled(Meddled(before_read=touch, before_delete=once(later, end)), sessions)
    target = MemoryStore()
    done = moved(source, target)
    assert done.out == f"moved {2 + is_followed} sessions (0 taken, 0 expired, 1 ended)\n"
    assert held_by(source) == {}
    assert held_by(target) == by_id([new] * is_followed + others)


def test_a_session_that_a_walk_has_missed_is_moved_by_the_next() -> None:
    """
    A copy stays whose session lives, though a walk did not meet it.
    """
    key = only(1)

    class Missing(Meddled):
        walks = 0

        def ask(self, question: Question[Any]) -> Any:
            """
            Miss the session, the second time.
            """
            self.walks += isinstance(question, Walk)
            answer = super().ask(question)
            if isinstance(question, Walk) and self.walks == 2:
                return Stretch([], None)
            return answer

    touch = once(key, lambda store: MemoryStore.ask(store, Extend(key, HOUR, '{"b":2}', None)))
    source, target = Missing(before_read=touch), MemoryStore()
    filled(source, sample(3))
    assert moved(source, target).status == 0
    assert source.walks == 3
    assert held_by(source) == {}
    assert held_by(target)["s000001é"].metadata == '{"b":2}'


def test_a_successor_stays_for_the_next_run() -> None:
    """
    A session that is ended and created anew meanwhile keeps its own moment of creation.
    """
    key, old = only(1), sample(3)[1]
    new = old._replace(created=old.created + 1)

    def follow(store: MemoryStore) -> None:
        MemoryStore.ask(store, Delete(key, None))
        MemoryStore.ask(store, Put([new]))

    source, target = filled(Meddled(before_read=once(key, follow)), sample(3)), MemoryStore()
    assert moved(source, target).out == "moved 2 sessions (0 taken, 0 expired, 1 ended)\n"
    assert held_by(source) == {new.session_id: new}
    assert moved(source, target).status == 0
    assert held_by(target)[new.session_id] == new


class Twice(MemoryStore):
    """
    A store whose walk meets each session twice, as Redis may.
    """

    def ask(self, question: Question[Any]) -> Any:
        """
        Return each session twice.
        """
        answer = super().ask(question)
        if isinstance(question, Walk):
            return answer._replace(sessions=answer.sessions * 2)
        return answer


def test_a_session_that_is_met_twice_is_not_lost() -> None:
    """
    A walk that meets sessions twice makes no move forget them.
    """
    source, target = filled(Twice(), sample(30)), MemoryStore()
    assert moved(source, target).out.startswith("moved 30 sessions ")
    assert held_by(target) == by_id(sample(30))


def test_what_expires_on_the_way_stays_and_expires() -> None:
    """
    A session whose time is over by the target's clock is counted, and no fault.
    """

    class Ahead(MemoryStore):
        def ask(self, question: Question[Any]) -> Any:
            if not isinstance(question, Put):
                return super().ask(question)
            names = [kept.session_id for kept in question.sessions]
            return ["expired" if name == "s000001é" else "kept" for name in names]

    source = filled(MemoryStore(), sample(3))
    done = moved(source, Ahead(), is_copy=True)
    assert done.status == 0
    assert done.out.startswith("copied 2 sessions (0 taken, 1 expired, 0 ended)\n")


# Whatever stops it.


class Failing(MemoryStore):
    """
    A store that does not answer a kind of question from some call on.

    Args:
        kinds: the kinds of questions.
        calls: how many it answers.
        is_done: whether what was asked is done all the same.
    """

    def __init__(self, kinds: Kinds, calls: int, *, is_done: bool) -> None:
        super().__init__()
        self.fails: tuple[Kinds, bool] | None = (kinds, is_done)
        self._left = calls

    def ask(self, question: Question[Any]) -> Any:
        """
        Answer, or not.
        """
        if self.fails is None or not isinstance(question, self.fails[0]):
            return super().ask(question)
        self._left -= 1
        if self._left >= 0:
            return super().ask(question)
        if self.fails[1]:
            super().ask(question)
        raise RegistryUnavailable("memory")


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize(
    ("side", "kinds"),
    [
        pytest.param("source", (Walk,), id="source, walk"),
        pytest.param("source", (Read,), id="source, read"),
        pytest.param("source", (Delete,), id="source, delete"),
        pytest.param("target", (Put,), id="target, put"),
        pytest.param("target", (Delete,), id="target, delete"),
        pytest.param("target", (Put, Delete), id="target, put and delete"),
    ],
)
def test_an_outage_loses_nothing(side: str, kinds: Kinds, calls: int, is_done: bool) -> None:
    """
    A store that stops answering ends the move; the next one completes it, and all are there.
    """
    sessions = sample(1300)
    source = Failing(kinds if side == "source" else (), calls, is_done=is_done)
    target = Failing(kinds if side == "target" else (), calls, is_done=is_done)
    MemoryStore.ask(source, Put(sessions))
    statuses: list[int] = []
    try:
        moved(source, target)
    except Failed as failed:
        statuses.append(failed.status)
    assert by_id(sessions).keys() <= {**store_rows(source), **store_rows(target)}.keys()
    assert statuses in ([], [3])
    source.fails = target.fails = None
    MemoryStore.ask(target, Delete(make_key("x", LEASE_ID), None))
    assert moved(source, target).status == 0
    assert store_rows(target) == by_id(sessions)
    assert store_rows(source) == {}


def store_rows(store: Failing) -> dict[str, Kept]:
    """
    Return what a store keeps, whether or not it answers, but for the move's own session.
    """
    fails, store.fails = store.fails, None
    kept = held_by(store)
    store.fails = fails
    kept.pop(LEASE_ID, None)
    return kept


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_move_that_is_stopped_is_completed_by_the_next(
    files: tuple[str, str], number: signal.Signals
) -> None:
    """
    Stopped anywhere, nothing is lost and nothing is there twice in the end.
    """
    # Its right to move has to outlast what a busy machine holds it up.
    source, target = files
    sessions = sample(3000)
    put_into(source, sessions)
    chosen = random.Random(number)
    for _ in range(3):
        # Fewer than are there now: before its work begins, Python itself would be interrupted.
        remaining = len(kept_in(source))
        words = [*COMMAND, "move", source, target, "--timeout", "2"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            wait_for_less(running, source, chosen.randint(min(1, remaining), remaining))
            running.send_signal(number)
            running.communicate(timeout=DEADLINE)
        assert running.returncode in (0, -number, 128 + number)
        left = kept_in(target)
        left.pop(LEASE_ID, None)
        assert {**kept_in(source), **left} == by_id(sessions)
    done = process("move", source, target, "--timeout", "2")
    assert done.status == 0, done.err
    assert kept_in(target) == by_id(sessions)
    assert kept_in(source) == {}


def wait_for_less(running: subprocess.Popen[bytes], url: str, number: int) -> None:
    """
    Wait until a store has fewer sessions, or the command is done.
    """
    eventually(lambda: running.poll() is not None or len(kept_in(url)) < number)


def test_two_moves_follow_each_other(files: tuple[str, str]) -> None:
    """
    Two moves of the same sessions at once lose none: the second waits for the first.
    """
    source, target = files
    put_into(source, sample(800))
    done: list[Done] = []
    threads = [
        threading.Thread(target=lambda: done.append(ran("move", source, target))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.status for one in done] == [0, 0, 0]
    assert kept_in(target) == by_id(sample(800))


def test_a_move_that_never_ends_is_not_waited_for(files: tuple[str, str]) -> None:
    """
    A move that waits for another one too long says so and ends.
    """
    source, target = files
    put_into(source, sample(3))
    with SessionRegistry.open(target) as registry:
        registry.create(LEASE_ID)
    done = ran("move", source, target, "--timeout", "0.1")
    assert done.status == 1
    assert "waiting for up to 4 seconds" in done.err
    assert done.err.endswith("another move into the same store is running: run this one after it\n")
    assert kept_in(source) == by_id(sample(3))


def test_a_move_that_was_held_up_goes_no_further() -> None:
    """
    A move whose right has expired meanwhile deletes nothing more.
    """
    source, target = MemoryStore(), MemoryStore()
    lease = Lease(place_for(target), 0.001)
    lease.take(place_for(source), Printer(streams_of(), (), is_json=False))
    target.ask(Delete(make_key("x", LEASE_ID), None))

    def is_held() -> bool:
        lease.extend()
        return False

    with pytest.raises(Undone, match="run it again"):
        eventually(is_held)


def test_a_move_goes_on_for_long() -> None:
    """
    The right to move is kept for as long as the move runs, and given back at its end.
    """
    target = MemoryStore()
    lease = Lease(place_for(target), 0.001)
    lease.take(place_for(MemoryStore()), Printer(streams_of(), (), is_json=False))
    first = held_by(target)[LEASE_ID].expires

    def is_longer() -> bool:
        lease.extend()
        return held_by(target)[LEASE_ID].expires != first

    eventually(is_longer)
    lease.release()
    assert held_by(target) == {}


def test_the_moves_own_session_is_not_shown_or_moved(files: tuple[str, str]) -> None:
    """
    The session by which a move says that it is running is in no list, export or move.
    """
    source, target = files
    put_into(source, sample(2))
    with SessionRegistry.open(source) as registry:
        registry.create(LEASE_ID)
        assert len(ran("list", source, "--json").documents()) == 2
        assert ran("export", source).documents()[-1] == {"sessions": 2}
        assert ran("move", source, target).status == 0
        assert registry.exists(LEASE_ID)
    assert kept_in(target) == by_id(sample(2))


def test_a_service_may_run_meanwhile(files: tuple[str, str]) -> None:
    """
    Sessions that are created, touched or ended during a move are in exactly one store at the end.
    """
    source, target = files
    put_into(source, sample(1500))
    stop, gone = threading.Event(), set[str]()
    made: dict[str, Any] = {}

    def serve() -> None:
        chance = random.Random(1)
        with SessionRegistry.open(source) as registry:
            for number in itertools.count():
                if stop.is_set():
                    return
                record = registry.create(f"new{number}", ttl=1000)
                made[record.session_id] = record
                name = sample(1500)[chance.randrange(1500)].session_id
                try:
                    if number % 2:
                        made[name] = registry.touch(name, metadata={"n": number})
                    else:
                        registry.end(name)
                        gone.add(name)
                        made.pop(name, None)
                except SessionNotFound:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ran("move", source, target).status == 0
    finally:
        stop.set()
        thread.join()
    assert ran("move", source, target).status == 0
    there = kept_in(target)
    assert there.keys() == ({*by_id(sample(1500)), *made} - gone)
    with SessionRegistry.open(target) as registry:
        assert {name: registry.get(name) for name in made} == made


# Between servers.


@pytest.fixture
def valkey() -> Iterator[str]:
    """
    The URL of a Valkey of the test's own.
    """
    with Valkey() as server:
        yield server.url


def test_there_and_back(files: tuple[str, str], database: str, valkey: str) -> None:
    """
    From SQLite to PostgreSQL to Valkey and back nothing changes.
    """
    sessions = by_id(sample(1203))
    put_into(files[0], sample(1203))
    for source, target in itertools.pairwise((files[0], database, valkey, files[1])):
        assert ran("move", source, target) == (
            Done(0, "moved 1203 sessions (0 taken, 0 expired, 0 ended)\n", "")
        )
        assert kept_in(source) == {}
        assert kept_in(target) == sessions


def test_an_outage_of_either_side_is_told(
    files: tuple[str, str], own_server: PostgreSQL, valkey: str
) -> None:
    """
    A move names the server that does not answer, with the status 3; the next move completes it.
    """
    put_into(files[0], sample(5))
    assert ran("move", files[0], own_server.url).status == 0
    own_server.stop()
    for words in ((own_server.url, valkey), (valkey, own_server.url)):
        done = ran("move", *words, "--timeout", "2")
        assert done.status == 3
        assert f"postgresql://127.0.0.1:{own_server.port}/postgres does not answer" in done.err
        assert "s3cret" not in done.err
    own_server.start()
    assert ran("move", own_server.url, valkey).status == 0
    assert kept_in(valkey) == by_id(sample(5))


def test_a_wrong_password_is_no_outage(database: str) -> None:
    """
    A misconfigured store has the status 4, and its message has no password.
    """
    wrong = database.replace("s3cret", "wr0ng")
    for words in (["check", wrong], ["count", wrong]):
        done = process(*words)
        assert (done.status, done.out) == (4, "")
        assert "waiting will not mend this" in done.err
        assert "wr0ng" not in done.err


def test_one_database_by_two_names(database: str) -> None:
    """
    One database under two names of its host is one place.
    """
    put_into(database, sample(3))
    done = ran("move", database, database.replace("127.0.0.1", "localhost"))
    assert done.status == 2
    assert kept_in(database) == by_id(sample(3))


def test_check_tells_what_voids_a_promise() -> None:
    """
    A check of a Valkey that evicts says so, with the status 1.
    """
    with Valkey(maxmemory="20mb", maxmemory_policy="allkeys-lru") as server:
        done = process("check", server.url, "--json")
    assert done.status == 1
    assert "noeviction" in " ".join(done.document()["faults"])


def test_a_wrong_password_of_valkey_is_no_outage() -> None:
    """
    The same holds for Valkey, and where the password is missing.
    """
    with Valkey() as server, server.client() as client:
        client.config_set("requirepass", "s3cret")
        plain = server.url.removeprefix("redis://")
        for url in (f"redis://:wr0ng@{plain}", server.url):
            done = process("count", url)
            assert (done.status, done.out) == (4, "")
            assert "waiting will not mend this" in done.err
            assert "wr0ng" not in done.err
        assert process("count", f"redis://:s3cret@{plain}").out == "0\n"


def test_no_log_is_printed(valkey: str) -> None:
    """
    Logs about a store that breaks a promise are not printed, since ``check`` says the same.
    """
    assert process("count", valkey) == Done(0, "0\n", "")
    assert process("check", valkey).status == 1
