"""
What every store gives those who operate it: retries, walks, counts, moves, and no litter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from idlanyard import subscribe
from idlanyard._binding.events import Event
from idlanyard.registry import IdempotencyMismatch, SessionExists, SessionNotFound, strict
from idlanyard.registry._questions import Put, Walk
from idlanyard.registry._record import Kept
from registry.faces import Opened, store_of
from registry.naming import eventually, fresh


class Operated:
    """
    The contract of every store, besides its verbs.
    """

    def opened(self, url: str, **options: Any) -> AbstractContextManager[Opened]:
        """
        Open the store.
        """
        raise NotImplementedError

    # What a retry is told.

    @pytest.mark.parametrize("named", [True, False], ids=["its own ID", "a minted ID"])
    def test_a_retry_is_answered_as_before(self, registry: Opened, named: bool) -> None:
        """
        A create that is sent again with its idempotency key returns the record that it made.
        """
        name, client, key = fresh() if named else None, fresh("client"), fresh("key")
        asked = {"client_id": client, "metadata": {"a": 1}, "ttl": 60, "idempotency_key": key}
        made = registry.create(name, **asked)
        assert registry.create(name, **asked) == made
        registry.touch(made.session_id, ttl=600, metadata={"b": 2})
        assert registry.create(name, **asked) == made
        assert [one.session_id for one in registry.find(client_id=client)] == [made.session_id]

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param({"session_id": "another"}, id="session"),
            pytest.param({"session_id": None}, id="no session"),
            pytest.param({"metadata": {"a": 2}}, id="metadata"),
            pytest.param({"ttl": 61}, id="time to live"),
        ],
    )
    def test_a_key_is_for_one_request(self, registry: Opened, other: dict[str, Any]) -> None:
        """
        An idempotency key that made a session from other arguments is refused, and makes nothing.
        """
        name, key = fresh(), fresh("key")
        asked: dict[str, Any] = {"session_id": name, "metadata": {"a": 1}, "ttl": 60}
        registry.create(**asked, idempotency_key=key)
        if other.get("session_id"):
            other = {"session_id": fresh()}
        with pytest.raises(IdempotencyMismatch):
            registry.create(**(asked | other), idempotency_key=key)
        assert not registry.exists(str(other.get("session_id")))

    def test_a_key_is_its_clients_own(self, registry: Opened) -> None:
        """
        Two clients with one idempotency key have a session each, and see nothing of the other's.
        """
        key, one, other = fresh("key"), fresh("client"), fresh("client")
        first = registry.create(client_id=one, idempotency_key=key)
        second = registry.create(client_id=other, idempotency_key=key)
        third = registry.create(idempotency_key=key)
        assert len({record.session_id for record in (first, second, third)}) == 3

    def test_a_key_takes_no_id_of_another(self, registry: Opened) -> None:
        """
        A taken ID stays a duplicate to a create that brings a key which did not make it.
        """
        name = fresh()
        registry.create(name)
        for _ in range(2):
            with pytest.raises(SessionExists):
                registry.create(name, idempotency_key=fresh("key"))

    def test_a_key_lives_as_long_as_its_session(self, registry: Opened) -> None:
        """
        The idempotency key of a session that has ended or expired makes a new one.
        """
        name, key = fresh(), fresh("key")
        ended = registry.create(name, idempotency_key=key)
        registry.end(name)
        made = registry.create(fresh(), ttl=0.05, idempotency_key=key)
        assert made.session_id != ended.session_id
        eventually(lambda: not registry.exists(made.session_id))
        last = registry.create(fresh(), idempotency_key=key)
        assert last.session_id not in (made.session_id, ended.session_id)
        assert registry.create(last.session_id, idempotency_key=key) == last

    def test_the_retry_recipe_may_be_sent_again(self, registry: Opened) -> None:
        """
        ``create_or_suffix`` with a key returns the session that it made, whatever its suffix.
        """
        name, key = fresh(), fresh("key")
        registry.create(name)
        made = registry.create_or_suffix(name, idempotency_key=key)
        assert made.session_id == f"{name}_1"
        assert registry.create_or_suffix(name, idempotency_key=key) == made

    @pytest.mark.parametrize("key", ["", "a\nb", "x" * 1025, 7, b"k"])
    def test_a_key_that_is_none_is_refused(self, registry: Opened, key: Any) -> None:
        """
        An idempotency key is text such as an ID is.
        """
        with pytest.raises((ValueError, TypeError), match="idempotency_key"):
            registry.create(fresh(), idempotency_key=key)

    # What a touch may change.

    def test_a_touch_may_bring_metadata(self, registry: Opened) -> None:
        """
        Metadata that a touch brings takes the place of what was there, and nothing else changes.
        """
        name = fresh()
        made = registry.create(name, client_id=fresh("client"), metadata={"a": 1})
        touched = registry.touch(name, metadata={"b": [2]})
        assert touched == registry.get(name)
        assert (touched.metadata, touched.created_at) == ({"b": [2]}, made.created_at)
        assert (touched.client_id, touched.expires_at) == (made.client_id, None)
        assert registry.touch(name, ttl=60).metadata == {"b": [2]}

    def test_a_touch_leaves_a_successor_alone(self, registry: Opened) -> None:
        """
        A touch of the session of one moment is none of a session created with its ID since.
        """
        name = fresh()
        first = registry.create(name, ttl=60)
        assert registry.touch(name, created_at=first.created_at).session_id == name
        registry.end(name)
        second = registry.create(name, ttl=60)
        with pytest.raises(SessionNotFound):
            registry.touch(name, ttl=600, created_at=first.created_at)
        assert registry.get(name) == second

    def test_a_touch_moves_no_end_backwards(self, registry: Opened) -> None:
        """
        Without a time of its own a touch leaves an end that is later than it would make it.
        """
        name = fresh()
        registry.create(name, ttl=60)
        [later] = [one for one in walked(registry) if one.session_id == name]
        assert later.expires is not None
        later = later._replace(expires=later.expires + 3_600_000_000)
        assert store_of(registry).ask(Put([later])) == ["same"]
        ends = registry.get(name).expires_at
        assert registry.touch(name).expires_at == ends
        assert registry.touch(name, ttl=60).expires_at < ends

    def test_the_retry_recipe_gives_up_where_no_suffix_is_allowed(self, url: str) -> None:
        """
        A suffix that the validator refuses is not the caller's error: an ID is minted.
        """
        with self.opened(url, validator=strict) as registry:
            base = fresh("x").ljust(255, "x")
            registry.create(base)
            assert registry.create_or_suffix(base).session_id.startswith("session_")

    # Going through all of them.

    def test_a_walk_meets_what_lives(self, registry: Opened) -> None:
        """
        A walk meets each living session, whoever has it, and none that has ended or expired.
        """
        client, names = fresh("client"), [fresh() for _ in range(30)]
        for name in names:
            registry.create(name, client_id=client, metadata={"n": name}, ttl=600)
        alone, ended, expired = fresh(), fresh(), fresh()
        registry.create(alone)
        registry.create(ended, client_id=client)
        registry.end(ended)
        registry.create(expired, client_id=client, ttl=0.001)
        eventually(lambda: not registry.exists(expired))
        met = {record.session_id: record for record in registry.walk()}
        assert {*names, alone} <= met.keys()
        assert not {ended, expired} & met.keys()
        assert all(met[name] == registry.get(name) for name in (*names, alone))

    def test_a_walk_goes_on_where_it_stopped(self, registry: Opened) -> None:
        """
        A walk in small parts meets the same sessions, from the place that each part names.
        """
        names = {fresh() for _ in range(25)}
        for name in names:
            registry.create(name)
        assert names <= {kept.session_id for kept in walked(registry, limit=7)}

    def test_a_place_of_another_store_is_refused(self, registry: Opened) -> None:
        """
        A walk that is to go on from no place of its own store says so.
        """
        with pytest.raises(ValueError, match="begin anew"):
            store_of(registry).ask(Walk("no place at all", 10))

    def test_what_lives_is_counted(self, registry: Opened) -> None:
        """
        The count has the living sessions, and none that has ended or expired.
        """
        names = [fresh() for _ in range(3)]
        for name in names:
            registry.create(name)
        expired = fresh()
        registry.create(expired, ttl=0.001)
        registry.end(names[0])
        eventually(lambda: not registry.exists(expired))
        # Sessions of other tests may expire meanwhile.
        eventually(lambda: registry.count() == len(list(registry.walk())))
        living = {record.session_id for record in registry.walk()}
        assert living.intersection([*names, expired]) == set(names[1:])

    def test_a_store_is_checked(self, registry: Opened) -> None:
        """
        A check returns sentences, and leaves nothing behind.
        """
        before = {record.session_id for record in registry.walk()}
        assert all(isinstance(fault, str) for fault in registry.check())
        # Sessions of other tests may expire meanwhile.
        assert {record.session_id for record in registry.walk()} <= before

    # Moving to another store.

    def test_what_is_put_is_as_it_was(self, registry: Opened) -> None:
        """
        A session that is put has every field that it had, its moments and its idempotency key.
        """
        key, client, name = fresh("key"), fresh("client"), fresh()
        asked = {"client_id": client, "metadata": {"a": "\u2028"}, "ttl": 600}
        made = registry.create(name, **asked, idempotency_key=key)
        registry.create(fresh(), client_id=client)
        before = [kept for kept in walked(registry) if kept.client_id == client]
        for kept in before:
            registry.end(kept.session_id)
        moved = [kept._replace(created=kept.created - 10**9) for kept in before]
        assert store_of(registry).ask(Put(moved)) == ["kept", "kept"]
        after = [kept for kept in walked(registry) if kept.client_id == client]
        assert sorted(after) == sorted(moved)
        assert len(registry.find(client_id=client)) == 2
        assert registry.get(name).created_at == made.created_at - timedelta(seconds=1000)
        assert registry.create(name, **asked, idempotency_key=key).session_id == name

    def test_what_is_put_again_is_the_same(self, registry: Opened) -> None:
        """
        Putting a session again changes what was touched since, and tells that it was there.
        """
        kept = Kept(fresh(), fresh("client"), "{}", None, 1_600_000_000_000_001, None)
        assert store_of(registry).ask(Put([kept])) == ["kept"]
        changed = kept._replace(metadata='{"a":1}', ttl=10**9, expires=4_000_000_000_000_000)
        assert store_of(registry).ask(Put([changed])) == ["same"]
        assert [one for one in walked(registry) if one.session_id == kept.session_id] == [changed]

    def test_what_is_put_takes_nothing_from_others(self, registry: Opened) -> None:
        """
        A living session keeps its ID and its key; a session whose time is over is not put.
        """
        name, key = fresh(), fresh("key")
        made = registry.create(name, idempotency_key=key)
        [there] = [kept for kept in walked(registry) if kept.session_id == name]
        another = there._replace(created=there.created + 1)
        twin = there._replace(session_id=fresh())
        over = Kept(fresh(), None, "{}", 1, 1_600_000_000_000_000, 1_600_000_000_000_001)
        assert store_of(registry).ask(Put([another, twin, over])) == ["taken", "taken", "expired"]
        assert registry.get(name) == made
        assert not registry.exists(twin.session_id)
        assert not registry.exists(over.session_id)

    # Housekeeping.

    def test_what_expired_leaves_in_passing(self, url: str) -> None:
        """
        Creates give up what has expired, so that it never grows beyond what lives.
        """
        with self.opened(url, namespace=f"t{fresh()[2:12]}") as registry:
            client = fresh("client")
            for number in range(300):
                registry.create(f"dead{number}", client_id=client, ttl=0.001)
            eventually(lambda: not registry.exists("dead299"))
            for number in range(300):
                registry.create(f"alive{number}", client_id=client)
            assert registry.purge_expired() == 0

    # What is told.

    @pytest.fixture
    def told(self) -> Iterator[list[Event]]:
        """
        Return what subscribers are told.
        """
        events: list[Event] = []
        undo = subscribe("registry", events.append)
        yield events
        undo()

    def test_each_verb_is_told(self, registry: Opened, told: list[Event]) -> None:
        """
        ``"registry"`` is told each verb, how it ended, how long it took, and where.
        """
        name, key = fresh(), fresh("key")
        for _ in range(2):
            registry.create(name, idempotency_key=key)
        for refused, error in ((name, SessionExists), ("\t", ValueError)):
            with pytest.raises(error):
                registry.create(refused)
        registry.exists(name)
        registry.touch(name)
        registry.end(name)
        registry.exists(name)
        with pytest.raises(SessionNotFound):
            registry.get(name)
        assert [(event.verb, event.outcome) for event in told] == [
            ("create", "created"),
            ("create", "repeated"),
            ("create", "exists"),
            ("create", "refused"),
            ("exists", "found"),
            ("touch", "touched"),
            ("end", "ended"),
            ("exists", "not found"),
            ("get", "not found"),
        ]
        assert {event.name for event in told} == {"registry"}
        assert len({event.store for event in told}) == 1
        assert all(event.seconds is not None and 0 <= event.seconds < 60 for event in told)


def walked(registry: Opened, limit: int = 1000) -> list[Kept]:
    """
    Return what a walk through the store meets, each once.
    """
    store, after, met = store_of(registry), None, {}
    while True:
        stretch = store.ask(Walk(after, limit))
        met.update({kept.session_id: kept for kept in stretch.sessions})
        after = stretch.after
        if after is None:
            return list(met.values())
