"""
What holds for every store, asked through both registries.

A subclass says where its store is, by a fixture ``url``, and which registry
asks, by ``face``. The store may hold sessions of other tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idlanyard.registry import SessionExists, SessionNotFound, SessionRecord, strict
from registry.faces import Opened, asynchronous, synchronous
from registry.naming import eventually, fresh
from registry.operated import Operated

FOUR_BYTES = "\N{GRINNING FACE}"

IDS = {
    "one character": "x",
    "only digits": "123",
    "spaces only": "   ",
    "trailing space": "session ",
    "leading space": " session",
    "slash": "crm/user/1",
    "percent": "50%25",
    "quotes": 'it\'s "quoted" `here` \\',
    "line separator": "a\u2028b",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "right to left": "\u202eabc",
    "like a wildcard": "a*b?[c]_%",
    "like a template": "{0}:%s:$1:{{}}",
    "like a redis key": "idlanyard:session:x",
    "longest, one byte": "x" * 1024,
    "longest, four bytes": FOUR_BYTES * 256,
}

NO_IDS: dict[str, object] = {
    "a tab": "a\tb",
    "a line end": "a\r\nSet-Cookie: x=1",
    "NUL": "a\x00b",
    "DEL": "a\x7f",
    "C1": "a\x85b",
    "a lone surrogate": "a\ud800",
    "too long, one byte": "x" * 1025,
    "too long, four bytes": FOUR_BYTES * 256 + "x",
}

METADATA = {
    "empty": {},
    "the guide's": {"platform": "mobile_app", "external_id": "crm_123456"},
    "all of JSON": {"a": [1, -2.5, True, None, {"b": "c"}], "": "", "\u2028": FOUR_BYTES},
    "awkward text": {"nul": "\x00", "lone": "\ud800", "quote": '"', "slash": "\\"},
    "large numbers": {"int": 2**80, "float": 1e300, "small": 5e-324},
    "eight levels": {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": 1}}}}}}}},
    "16 KiB": {"x": "y" * (16 * 1024 - 8)},
    "16 KiB of four bytes": {"x": FOUR_BYTES * (4 * 1024 - 2)},
}


class RegistryContract(Operated):
    """
    The contract of every store.
    """

    face: ClassVar[Callable[..., AbstractContextManager[Opened]]] = staticmethod(synchronous)
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def registry(self, url: str) -> Iterator[Opened]:
        """
        Open the store for one test.
        """
        with self.opened(url) as registry:
            yield registry

    def opened(self, url: str, **options: Any) -> AbstractContextManager[Opened]:
        """
        Open the store.
        """
        return type(self).face(url, **self.options | options)

    def test_create_returns_what_get_returns(self, registry: Opened) -> None:
        """
        A session has what it was created with, and moments in UTC.
        """
        name, client = fresh(), fresh("client")
        made = registry.create(name, client_id=client, metadata={"a": [1]}, ttl=60)
        assert made == registry.get(name)
        assert (made.session_id, made.client_id, made.metadata) == (name, client, {"a": [1]})
        assert made.status == "active"
        assert made.created_at.tzinfo is UTC
        assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=5)
        assert made.expires_at - made.created_at == timedelta(seconds=60)

    def test_everything_but_the_id_may_be_left_out(self, registry: Opened) -> None:
        """
        A client is optional, metadata defaults to {}, and without a time there is no end.
        """
        made = registry.create(fresh())
        assert (made.client_id, made.metadata, made.expires_at) == (None, {}, None)

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_no_id_mints(self, registry: Opened, nothing: str | None) -> None:
        """
        None and "" mint session_YYYYMMDD_HHMMSS_ and 64 random bits, in UTC.
        """
        before = datetime.now(UTC).replace(microsecond=0)
        made = registry.create(nothing)
        match = re.fullmatch(r"session_(\d{8}_\d{6})_[0-9a-f]{16}", made.session_id)
        assert match is not None
        moment = datetime.strptime(match[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        assert before <= moment <= datetime.now(UTC)
        assert registry.exists(made.session_id)

    def test_minted_ids_differ(self, registry: Opened) -> None:
        """
        S10: a hundred sessions without an ID have a hundred.
        """
        assert len({registry.create().session_id for _ in range(100)}) == 100

    def test_any_generator_mints(self, url: str) -> None:
        """
        An own generator makes the IDs, and one that is taken is drawn again.
        """
        first, second = fresh(), fresh()
        drawn = iter([first, first, second])
        with self.opened(url, mint=lambda: next(drawn)) as registry:
            assert registry.create().session_id == first
            assert registry.create().session_id == second

    def test_a_generator_that_repeats_itself_is_told(self, url: str) -> None:
        """
        A generator whose every ID is taken ends in SessionExists, not in a loop.
        """
        name = fresh()
        with self.opened(url, mint=lambda: name) as registry:
            registry.create()
            with pytest.raises(SessionExists):
                registry.create()

    @pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in IDS.items()])
    def test_a_custom_id_comes_back_byte_for_byte(self, registry: Opened, text: str) -> None:
        """
        An ID is taken as it is, found, refused a second time, and ended.
        """
        if registry.exists(text):
            registry.end(text)
        assert registry.create(text).session_id == text
        assert registry.get(text).session_id == text
        with pytest.raises(SessionExists):
            registry.create(text)
        assert registry.end(text).session_id == text

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            pytest.param("Session_{}", "session_{}", id="case"),
            pytest.param("s{} ", "s{}", id="trailing space"),
            pytest.param("caf\u00e9{}", "cafe\u0301{}", id="composition"),
            pytest.param("cafe{}", "caf\u00e9{}", id="accent"),
            pytest.param("stra\u00dfe{}", "strasse{}", id="sharp s"),
            pytest.param("\uff11{}", "1{}", id="width"),
            pytest.param("a\u200b{}", "a{}", id="zero width"),
        ],
    )
    def test_ids_are_told_apart(self, registry: Opened, one: str, other: str) -> None:
        """
        IDs that a collation would join are two sessions.
        """
        tail = uuid4().hex
        one, other = one.format(tail), other.format(tail)
        registry.create(one)
        assert not registry.exists(other)
        registry.create(other)
        assert registry.end(one).session_id == one
        assert registry.get(other).session_id == other

    @pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in NO_IDS.items()])
    def test_what_is_no_id_is_refused(self, registry: Opened, text: str) -> None:
        """
        S6: what is no ID is a ValueError which does not repeat it, and is known to nobody.
        """
        with pytest.raises(ValueError, match="session_id is refused") as raised:
            registry.create(text)
        assert text not in str(raised.value)
        with pytest.raises(ValueError, match="client_id is refused"):
            registry.create(client_id=text)
        assert registry.exists(text) is False
        for verb in (registry.get, registry.touch, registry.end):
            with pytest.raises(SessionNotFound):
                verb(text)

    def test_wrong_types_are_told(self, registry: Opened) -> None:
        """
        R7: a number is no ID, client or name, and the message says what to write.
        """
        for verb in (registry.create, registry.get, registry.exists, registry.touch, registry.end):
            with pytest.raises(TypeError, match=r"write str\(...\)"):
                verb(5)
        with pytest.raises(TypeError, match=r"write str\(...\)"):
            registry.create(client_id=5)
        with pytest.raises(TypeError, match=r"write str\(...\)"):
            registry.find(client_id=5)

    def test_a_duplicate_is_refused_in_the_guides_words(self, registry: Opened) -> None:
        """
        A duplicate raises SessionExists with the guide's sentence, and changes nothing.
        """
        name = fresh()
        made = registry.create(name, client_id="first", metadata={"a": 1})
        with pytest.raises(SessionExists) as raised:
            registry.create(name, client_id="second", metadata={"b": 2}, ttl=1)
        assert str(raised.value) == (
            f"Session ID '{name}' already exists. "
            "Please use a different ID or omit it for auto-generation."
        )
        assert raised.value.session_id == name
        assert registry.get(name) == made

    def test_strict_refuses_what_the_guide_refuses(self, url: str) -> None:
        """
        With the strict validator custom IDs are 1 to 255 of A-Z a-z 0-9 _ -.
        """
        with self.opened(url, validator=strict) as registry:
            for text in ("a b", "a/b", "a.b", "\u00e9", "x" * 256, "a\n"):
                with pytest.raises(ValueError, match="session_id is refused"):
                    registry.create(text)
            name = fresh("A_b")
            assert registry.create(name).session_id == name
            assert registry.create().session_id

    @pytest.mark.parametrize(
        "metadata", [pytest.param(data, id=name) for name, data in METADATA.items()]
    )
    def test_metadata_comes_back(self, registry: Opened, metadata: dict[str, Any]) -> None:
        """
        Metadata is a JSON object that comes back as it was.
        """
        name = fresh()
        assert registry.create(name, metadata=metadata).metadata == metadata
        assert registry.get(name).metadata == metadata

    def test_metadata_is_nobodys_to_change(self, registry: Opened) -> None:
        """
        R14: what is done to the mapping given or returned changes nothing that is kept.
        """
        name, given_metadata = fresh(), {"a": [1]}
        made = registry.create(name, metadata=given_metadata)
        given_metadata["a"].append(2)
        made.metadata["a"].append(3)
        assert registry.get(name).metadata == {"a": [1]}

    @pytest.mark.parametrize(
        ("metadata", "error"),
        [
            pytest.param([1], TypeError, id="a list"),
            pytest.param("{}", TypeError, id="text"),
            pytest.param({1: 2}, TypeError, id="a number as key"),
            pytest.param({"a": datetime.now(UTC)}, TypeError, id="a moment"),
            pytest.param({"a": {1}}, TypeError, id="a set"),
            pytest.param({"a": b"x"}, TypeError, id="bytes"),
            pytest.param({"a": float("nan")}, ValueError, id="NaN"),
            pytest.param({"a": [float("-inf")]}, ValueError, id="infinity"),
            pytest.param({"x": "y" * (16 * 1024 - 7)}, ValueError, id="16 KiB and one"),
            pytest.param({"1": [[[[[[[[1]]]]]]]]}, ValueError, id="nine levels"),
        ],
    )
    def test_metadata_that_is_no_json_is_refused(
        self, registry: Opened, metadata: Any, error: type[Exception]
    ) -> None:
        """
        Metadata beyond JSON, 16 KiB or 8 levels is refused; nothing is created.
        """
        name = fresh()
        with pytest.raises(error, match="metadata"):
            registry.create(name, metadata=metadata)
        assert not registry.exists(name)

    def test_unknown_sessions_are_not_found(self, registry: Opened) -> None:
        """
        A session that was never created is not found by any verb, and not created by one.
        """
        name = fresh()
        for verb in (registry.get, registry.touch, registry.end):
            with pytest.raises(SessionNotFound) as raised:
                verb(name)
            assert raised.value.session_id == name
        assert registry.exists(name) is False

    def test_an_ended_id_is_free_again(self, registry: Opened) -> None:
        """
        End returns what the session was, and its ID can be created anew.
        """
        name = fresh()
        made = registry.create(name, client_id="a", metadata={"n": 1})
        ended = registry.end(name)
        assert (ended.status, ended.session_id, ended.metadata) == ("ended", name, {"n": 1})
        assert ended.created_at == made.created_at
        with pytest.raises(SessionNotFound):
            registry.get(name)
        assert registry.create(name, client_id="b").client_id == "b"
        assert registry.get(name).metadata == {}

    def test_ending_one_session_leaves_its_successor(self, registry: Opened) -> None:
        """
        An end of the session created at one moment is no end of another with its ID.
        """
        name, client = fresh(), fresh("client")
        old = registry.create(name, client_id=client, ttl=60)
        registry.end(name)
        # Two creates of one ID may be in the same microsecond, unless the clock has moved.
        eventually(lambda: datetime.now(UTC) > old.created_at + timedelta(milliseconds=1))
        new = registry.create(name, client_id=client)
        with pytest.raises(SessionNotFound):
            registry.end(name, created_at=old.created_at)
        assert registry.get(name) == new
        assert registry.find(client_id=client) == [new]
        elsewhere = new.created_at.astimezone(timezone(timedelta(hours=-5)))
        assert registry.end(name, created_at=elsewhere).client_id == client
        assert registry.find(client_id=client) == []
        assert not registry.exists(name)

    @pytest.mark.parametrize(
        ("created_at", "error"),
        [
            pytest.param(datetime(2026, 1, 1), ValueError, id="no time zone"),  # noqa: DTZ001
            pytest.param(1767225600.0, TypeError, id="a number"),
            pytest.param("2026-01-01T00:00:00Z", TypeError, id="a text"),
        ],
    )
    def test_a_moment_that_is_none_is_refused(
        self, registry: Opened, created_at: Any, error: type[Exception]
    ) -> None:
        """
        A value that is no moment ends nothing.
        """
        name = fresh()
        registry.create(name)
        with pytest.raises(error, match="created_at"):
            registry.end(name, created_at=created_at)
        assert registry.exists(name)

    def test_an_expired_session_is_absent_to_every_verb(self, registry: Opened) -> None:
        """
        Fractions of a second count, and what expired is not there.
        """
        name, client = fresh(), fresh("client")
        registry.create(name, client_id=client, ttl=0.25)
        eventually(lambda: not registry.exists(name))
        for verb in (registry.get, registry.touch, registry.end):
            with pytest.raises(SessionNotFound):
                verb(name)
        assert registry.find(client_id=client) == []
        made = registry.create(name, client_id=client, metadata={"n": 2})
        assert (made.expires_at, made.metadata) == (None, {"n": 2})
        assert registry.find(client_id=client) == [made]

    def test_an_expired_id_may_go_to_another_client(self, registry: Opened) -> None:
        """
        An ID taken over after it expired is the new client's alone.
        """
        name, old, new = fresh(), fresh("old"), fresh("new")
        registry.create(name, client_id=old, ttl=0.05)
        eventually(lambda: not registry.exists(name))
        made = registry.create(name, client_id=new, ttl=60)
        assert registry.find(client_id=old) == []
        assert registry.find(client_id=new) == [made]

    def test_a_touch_begins_the_time_anew(self, registry: Opened) -> None:
        """
        Expiry slides: a touch begins the time that the session has, or is given.
        """
        name = fresh()
        made = registry.create(name, ttl=60)
        eventually(lambda: registry.touch(name).expires_at > made.expires_at)
        touched = registry.touch(name, ttl=600)
        assert touched == registry.get(name)
        assert touched.created_at == made.created_at
        assert touched.expires_at > made.expires_at + timedelta(seconds=500)
        assert registry.touch(name).expires_at >= touched.expires_at

    def test_a_touch_keeps_a_session_from_expiring(self, registry: Opened) -> None:
        """
        A session that is touched outlives the time it was created with.
        """
        name, witness = fresh(), fresh()
        registry.create(name, ttl=2)
        registry.create(witness, ttl=2)

        def touched() -> bool:
            registry.touch(name)
            return not registry.exists(witness)

        eventually(touched)
        assert registry.exists(name)

    def test_a_touch_without_a_time_leaves_it_endless(self, registry: Opened) -> None:
        """
        A session that never expires does not begin to by being touched.
        """
        name = fresh()
        registry.create(name)
        assert registry.touch(name).expires_at is None
        assert registry.touch(name, ttl=60).expires_at is not None
        assert registry.touch(name).expires_at is not None

    def test_the_registrys_own_time_is_the_default(self, url: str) -> None:
        """
        With a time to live of its own the registry gives it to who names none.
        """
        with self.opened(url, ttl=3600) as registry:
            made = registry.create(fresh())
            assert made.expires_at - made.created_at == timedelta(hours=1)
            made = registry.create(fresh(), ttl=1.5)
            assert made.expires_at - made.created_at == timedelta(seconds=1.5)

    @pytest.mark.parametrize(
        ("ttl", "error"),
        [
            pytest.param(0, ValueError, id="zero"),
            pytest.param(-1, ValueError, id="negative"),
            pytest.param(float("nan"), ValueError, id="NaN"),
            pytest.param(float("inf"), ValueError, id="infinite"),
            pytest.param(1e12, ValueError, id="too long"),
            pytest.param("60", TypeError, id="text"),
            pytest.param(True, TypeError, id="bool"),
            pytest.param(timedelta(seconds=1), TypeError, id="timedelta"),
        ],
    )
    def test_a_time_that_is_none_is_refused(
        self, registry: Opened, ttl: Any, error: type[Exception]
    ) -> None:
        """
        A time to live is a positive number of seconds.
        """
        with pytest.raises(error, match="ttl is"):
            registry.create(fresh(), ttl=ttl)
        with pytest.raises(error, match="ttl is"):
            registry.touch(fresh(), ttl=ttl)

    def test_a_hundred_years_can_be_told(self, registry: Opened) -> None:
        """
        The longest time to live has a moment.
        """
        made = registry.create(fresh(), ttl=100 * 365 * 24 * 3600)
        assert made.expires_at.year >= made.created_at.year + 99

    def test_purging_leaves_what_lives(self, url: str) -> None:
        """
        Purging gives up the expired, and no others, and may be done again.
        """
        living, client = fresh(), fresh("client")
        # In a namespace of its own nobody else's session expires meanwhile.
        with self.opened(url, namespace=f"n{uuid4().hex}") as registry:
            dead = [registry.create(client_id=client, ttl=0.05).session_id for _ in range(5)]
            registry.create(living, client_id=client, ttl=60)
            eventually(lambda: not any(map(registry.exists, dead)))
            assert registry.purge_expired() >= 0
            assert registry.purge_expired() == 0
            assert [record.session_id for record in registry.find(client_id=client)] == [living]

    def test_find_pages_through_a_clients_sessions(self, registry: Opened) -> None:
        """
        Pages are of the client's own sessions, in the order of their bytes.
        """
        client, other = fresh("client"), fresh("client")
        tail = uuid4().hex
        names = [f"{start}-{tail}" for start in ("Z", "a", "b", "\u00e9", "\uffee", FOUR_BYTES)]
        for name in reversed(names):
            registry.create(name, client_id=client)
        registry.create(client_id=other)
        registry.create()
        assert names == sorted(names, key=str.encode)
        assert self.pages(registry, client, 2) == [names[:2], names[2:4], names[4:], []]
        assert self.pages(registry, client, 4) == [names[:4], names[4:]]
        assert registry.find(client_id=client)[0] == registry.get(names[0])

    def pages(self, registry: Opened, client: str, limit: int) -> list[list[str]]:
        """
        Return the IDs on each page.
        """
        pages: list[list[str]] = []
        after = None
        while not pages or len(pages[-1]) == limit:
            records: list[SessionRecord] = registry.find(client_id=client, limit=limit, after=after)
            pages.append([record.session_id for record in records])
            after = records[-1].session_id if records else None
        return pages

    def test_a_page_begins_behind_a_session_that_is_gone(self, registry: Opened) -> None:
        """
        Paging goes on where it was, also behind what ended meanwhile.
        """
        client, tail = fresh("client"), uuid4().hex
        names = [f"{number}-{tail}" for number in range(5)]
        for name in names:
            registry.create(name, client_id=client)
        registry.find(client_id=client, limit=2)
        registry.end(names[1])
        registry.end(names[2])
        rest = registry.find(client_id=client, limit=2, after=names[1])
        assert [record.session_id for record in rest] == names[3:]
        registry.create(names[1], client_id=client)
        again = registry.find(client_id=client, after=names[0])
        assert [record.session_id for record in again] == [names[1], *names[3:]]

    def test_many_expired_sessions_hide_none_that_lives(self, registry: Opened) -> None:
        """
        A page is filled though most of a client's sessions have expired.
        """
        client, tail = fresh("client"), uuid4().hex
        for number in range(30):
            registry.create(f"a{number}-{tail}", client_id=client, ttl=0.001)
        living = [f"b{number}-{tail}" for number in range(3)]
        for name in living:
            registry.create(name, client_id=client)
        eventually(lambda: not registry.exists(f"a29-{tail}"))
        found = registry.find(client_id=client, limit=3)
        assert [record.session_id for record in found] == living

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, "2", 1001, 10**9])
    def test_a_limit_that_is_none_is_refused(self, registry: Opened, limit: Any) -> None:
        """
        A page has a limit of 1 to 1,000; one that would be cut in silence is refused.
        """
        with pytest.raises(ValueError, match="write 1 to 1000"):
            registry.find(client_id="c", limit=limit)
        assert registry.find(client_id=fresh(), limit=1000) == []

    def test_a_client_nobody_knows_has_no_sessions(self, registry: Opened) -> None:
        """
        Only who names a client finds its sessions.
        """
        registry.create()
        assert registry.find(client_id=fresh("client")) == []
        with pytest.raises(ValueError, match="client_id is empty"):
            registry.find(client_id="")

    def test_the_retry_recipe(self, registry: Opened) -> None:
        """
        Base, base_1, base_2, and then a minted one, each created once.
        """
        base = fresh()
        names = [registry.create_or_suffix(base, 3).session_id for _ in range(5)]
        assert names[:3] == [base, f"{base}_1", f"{base}_2"]
        assert all(name.startswith("session_") for name in names[3:])
        assert len(set(names)) == 5

    def test_the_retry_recipe_refuses_what_create_refuses(self, registry: Opened) -> None:
        """
        Any other fault than a duplicate is raised.
        """
        for base, error in (("a\n", ValueError), ("", ValueError), (5, TypeError)):
            with pytest.raises(error, match="base"):
                registry.create_or_suffix(base)
        for retries in (0, True, "3"):
            with pytest.raises(ValueError, match="retries"):
                registry.create_or_suffix(fresh(), retries)
        with pytest.raises(TypeError, match="metadata"):
            registry.create_or_suffix(fresh(), metadata=[])

    def test_the_retry_recipe_mints_where_no_suffix_fits(self, registry: Opened) -> None:
        """
        A base as long as an ID may be has no room for a suffix: it is minted.
        """
        base = (uuid4().hex * 32)[:1024]
        assert registry.create_or_suffix(base, client_id="c").session_id == base
        made = registry.create_or_suffix(base, client_id="c", metadata={"n": 1}, ttl=60)
        assert made.session_id.startswith("session_")
        assert (made.client_id, made.metadata) == ("c", {"n": 1})

    def test_two_registries_see_each_other(self, registry: Opened, url: str) -> None:
        """
        An ID that one registry created is refused by another one at the same store.
        """
        name = fresh()
        registry.create(name)
        with self.opened(url) as other:
            assert other.exists(name) is (url != "memory://")

    def test_namespaces_keep_apart(self, url: str) -> None:
        """
        R10: two services with two namespaces at one store know nothing of each other.
        """
        name = fresh()
        with self.opened(url, namespace="one") as one, self.opened(url, namespace="two") as two:
            one.create(name, client_id=name)
            assert not two.exists(name)
            assert two.find(client_id=name) == []
            two.create(name)
            one.end(name)
            assert two.exists(name)

    def test_closing_twice_is_harmless(self, url: str) -> None:
        """
        A registry may be closed twice, and before it was used.
        """
        with self.opened(url) as registry:
            registry.close()
            registry.close()
        with self.opened(url) as registry:
            registry.create()
            registry.close()

    # The fixture stays open between the examples, which have names of their own; and every
    # subclass is an executor of its own.
    @settings(
        max_examples=25,
        suppress_health_check=[
            HealthCheck.differing_executors,
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
        ],
        deadline=None,
    )
    @given(data=st.data())
    def test_the_store_is_like_a_dictionary(self, registry: Opened, data: st.DataObject) -> None:
        """
        After any verbs the store answers as a dictionary would.
        """
        tail = uuid4().hex
        client = fresh("client")
        names = [f"{name}{tail}" for name in ("a", "A", "\u00e9", "e\u0301", " ")]
        known: dict[str, int] = {}
        for number in range(data.draw(st.integers(1, 12))):
            name = data.draw(st.sampled_from(names))
            if data.draw(st.booleans()):
                try:
                    registry.create(name, client_id=client, metadata={"n": number})
                    assert known.setdefault(name, number) == number
                except SessionExists:
                    assert name in known
            else:
                try:
                    assert registry.end(name).metadata == {"n": known.pop(name, None)}
                except SessionNotFound:
                    assert name not in known
            found = {one.session_id: one.metadata["n"] for one in registry.find(client_id=client)}
            assert found == known


class RacingContract(RegistryContract):
    """
    The rest of the contract of synchronous registries, shared by threads.
    """

    def test_of_many_threads_one_creates(self, registry: Opened) -> None:
        """
        R16: of eight threads that create the same IDs, each ID is created by one.
        """
        names = [fresh() for _ in range(50)]
        together = Barrier(8)

        def create_all(_: int) -> list[str]:
            created = []
            together.wait()
            for name in names:
                try:
                    created.append(registry.create(name).session_id)
                except SessionExists:
                    continue
            return created

        with ThreadPoolExecutor(8) as pool:
            created = [name for one in pool.map(create_all, range(8)) for name in one]
        assert sorted(created) == sorted(names)

    def test_of_many_threads_one_takes_over_what_expired(self, registry: Opened) -> None:
        """
        Of eight threads that want an expired ID, one gets it.
        """
        for _ in range(10):
            name = fresh()
            registry.create(name, ttl=0.001)
            eventually(lambda name=name: not registry.exists(name))  # type: ignore[misc]

            together = Barrier(8)

            def create(number: int, name: str = name, together: Barrier = together) -> int:
                together.wait()
                try:
                    registry.create(name, metadata={"n": number})
                except SessionExists:
                    return 0
                return number

            with ThreadPoolExecutor(8) as pool:
                winners = [number for number in pool.map(create, range(1, 9)) if number]
            assert [registry.get(name).metadata["n"]] == winners

    @pytest.mark.parametrize("named", [True, False], ids=["one ID", "minted IDs"])
    def test_of_many_retries_one_creates(self, registry: Opened, named: bool) -> None:
        """
        Of eight threads that create with one idempotency key, one makes a session, and all get it.
        """
        for _ in range(10):
            name, client, key = fresh() if named else None, fresh("client"), fresh("key")
            together = Barrier(8)

            def create(
                _: int,
                name: str | None = name,
                asked: tuple[str, str] = (client, key),
                together: Barrier = together,
            ) -> SessionRecord:
                together.wait()
                made: SessionRecord = registry.create(
                    name, client_id=asked[0], metadata={"a": 1}, ttl=60, idempotency_key=asked[1]
                )
                return made

            with ThreadPoolExecutor(8) as pool:
                records = list(pool.map(create, range(8)))
            assert registry.find(client_id=client) == records[:1]
            assert records == records[:1] * 8


class AwaitedContract(RegistryContract):
    """
    The same through an asynchronous registry.
    """

    face = staticmethod(asynchronous)
