"""
What the registries say without any store: options, errors, what an ID may be.
"""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idlanyard import IDLanyardError, PolicyError
from idlanyard.registry import (
    AsyncSessionRegistry,
    IdempotencyMismatch,
    MissingExtra,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    SessionRecord,
    SessionRegistry,
    strict,
)
from idlanyard.registry._checks import convert_ttl, encode_metadata, make_key
from idlanyard.registry._memory import MemoryStore
from idlanyard.registry._questions import Insert, Question
from idlanyard.registry._record import Draft, Row, make_record
from idlanyard.registry._verbs import Verbs
from registry.faces import registry_on

BOTH = pytest.mark.parametrize("registry", [SessionRegistry, AsyncSessionRegistry])
SECRET = "hunter2"
PLAIN = st.characters(exclude_categories=["Cc", "Cs"])


@BOTH
@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param(
            f"mysql://root:{SECRET}@host/db", "url begins with one of memory://", id="kind"
        ),
        pytest.param(f"root:{SECRET}@host", "url begins with one of memory://", id="no kind"),
        pytest.param("", "url begins with one of memory://", id="empty"),
        pytest.param(f"postgresql+psycopg2://u:{SECRET}@h/d", "url begins with", id="a driver"),
        pytest.param(b"memory://", "url is text", id="bytes"),
        pytest.param(None, "url is text", id="None"),
    ],
)
def test_a_url_that_is_none_is_refused(registry: Any, url: Any, message: str) -> None:
    """
    A wrong URL is refused when opened, and the message has no password.
    """
    with pytest.raises(PolicyError) as raised:
        registry.open(url)
    assert message in str(raised.value)
    assert SECRET not in str(raised.value) + repr(raised.value.value)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"ttl": 0}, "ttl is a positive number", id="ttl"),
        pytest.param({"ttl": "60"}, "ttl is a number of seconds", id="ttl, text"),
        pytest.param({"mint": "uuid7"}, "mint takes a function", id="mint"),
        pytest.param({"validator": "strict"}, "validator takes a function", id="validator"),
        pytest.param({"timeout": 0}, "timeout is a number", id="timeout"),
        pytest.param({"timeout": True}, "timeout is a number", id="timeout, bool"),
        pytest.param({"timeout": 601}, "timeout is a number", id="timeout, too long"),
        pytest.param({"timeout": "5"}, "timeout is a number", id="timeout, text"),
        pytest.param({"namespace": "a-b"}, "namespace is 1 to 40", id="namespace"),
        pytest.param({"namespace": "Sessions"}, "namespace is 1 to 40", id="namespace, capital"),
        pytest.param({"namespace": 'x"; drop'}, "namespace is 1 to 40", id="namespace, hostile"),
        pytest.param({"namespace": None}, "namespace is 1 to 40", id="namespace, None"),
    ],
)
def test_wrong_options_are_refused_when_opened(
    registry: Any, options: dict[str, Any], message: str
) -> None:
    """
    R14: an option that cannot be followed says what to write instead.
    """
    with pytest.raises(PolicyError, match=message):
        registry.open("memory://", **options)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        pytest.param("redis://h", "redis", "redis", id="redis"),
        pytest.param("rediss://h", "redis", "redis", id="rediss"),
        pytest.param("postgresql://h/d", "sqlalchemy", "postgres", id="postgresql"),
        pytest.param("postgresql://h/d", "psycopg", "postgres", id="psycopg"),
    ],
)
def test_a_scheme_without_its_extra_says_what_to_install(url: str, module: str, extra: str) -> None:
    """
    Without its library a scheme fails when opened, with the line that installs it.
    """
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from idlanyard.registry import MissingExtra, SessionRegistry\n"
        "try: SessionRegistry.open(sys.argv[2])\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, module, url], capture_output=True, text=True, check=True
    )
    assert f"run pip install 'idlanyard[{extra}]'" in done.stdout


def test_a_python_without_sqlite_is_told_apart() -> None:
    """
    No extra brings a module that this Python was built without.
    """
    code = (
        "import sys; sys.modules['sqlite3'] = None\n"
        "from idlanyard.registry import MissingExtra, SessionRegistry\n"
        "try: SessionRegistry.open('sqlite:///sessions.db')\n"
        "except ImportError as error: print(isinstance(error, MissingExtra), error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "sqlite3"]


def test_the_registry_needs_nothing_but_python() -> None:
    """
    SQLite is embedded: neither importing nor opening it loads a third party.
    """
    code = (
        "import sys\n"
        "from idlanyard.registry import AsyncSessionRegistry, SessionRegistry\n"
        "SessionRegistry.open(); AsyncSessionRegistry.open()\n"
        "names = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(*sorted(name for name in names if not name.startswith('_')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["idlanyard"]


@pytest.mark.parametrize(
    ("error", "evidence"),
    [
        pytest.param(SessionExists("s\u00e9"), ("session_id", "s\u00e9"), id="exists"),
        pytest.param(SessionNotFound("s1"), ("session_id", "s1"), id="not found"),
        pytest.param(RegistryUnavailable("redis"), ("scheme", "redis"), id="unavailable"),
        pytest.param(MissingExtra("redis", "redis"), ("extra", "redis"), id="extra"),
    ],
)
def test_errors_have_one_root_and_their_evidence(
    error: IDLanyardError, evidence: tuple[str, str]
) -> None:
    """
    One root, evidence on them, whole after pickling.
    """
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(error, IDLanyardError)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert getattr(again, evidence[0]) == evidence[1]


def test_an_extra_that_is_missing_is_an_import_error() -> None:
    """
    ``except ImportError`` catches it.
    """
    assert isinstance(MissingExtra("redis", "redis"), ImportError)


def test_a_record_shows_no_metadata() -> None:
    """
    S25: metadata may say who somebody is; the repr of a record has none of it.
    """
    record = SessionRecord(
        session_id="s1", metadata={"name": "John Doe"}, created_at=datetime.now(UTC)
    )
    assert "John" not in repr(record)
    assert hash(record) == hash(pickle.loads(pickle.dumps(record)))
    with pytest.raises(AttributeError):
        record.session_id = "s2"  # type: ignore[misc]


MOMENTS = st.integers(0, 4_000_000_000_000_000)


@given(created=MOMENTS, expires=st.none() | MOMENTS, status=st.sampled_from(["active", "ended"]))
def test_a_row_becomes_a_record(created: int, expires: int | None, status: Any) -> None:
    """
    A record has what its row has, to the microsecond, and is like any other.
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    record = make_record(Row("s1", "c", '{"a":1}', created, expires), status)
    assert record == SessionRecord(
        session_id="s1",
        client_id="c",
        metadata={"a": 1},
        created_at=epoch + timedelta(microseconds=created),
        expires_at=None if expires is None else epoch + timedelta(microseconds=expires),
        status=status,
    )


@given(text=st.text(PLAIN, min_size=1, max_size=1024).filter(lambda t: len(t.encode()) <= 1024))
def test_the_key_is_of_the_bytes(text: str) -> None:
    """
    Any text without control characters has the SHA-256 of its bytes as key.
    """
    assert make_key("session_id", text) == sha256(text.encode()).digest()


@given(text=st.text())
def test_an_id_is_taken_or_refused(text: str) -> None:
    """
    Any text is a ValueError without it or a key of 32 bytes.
    """
    refused = reason(lambda: make_key("session_id", text))
    if refused is None:
        assert len(make_key("session_id", text)) == 32
    else:
        assert len(text) < 3 or text not in refused


def reason(fn: Callable[[], object]) -> str | None:
    """
    Return why something is refused, if it is.
    """
    try:
        fn()
    except ValueError as error:
        return str(error)
    return None


LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        LEAF | st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=9), JSON, max_size=3)
    )
)


@given(metadata=st.dictionaries(st.text(max_size=9), JSON, max_size=5))
def test_metadata_comes_back_or_is_refused(metadata: dict[str, Any]) -> None:
    """
    JSON comes back as it was, in ASCII on the way, or is too deep.
    """
    refused = reason(lambda: encode_metadata(metadata))
    if refused is None:
        text = encode_metadata(metadata)
        assert text.isascii()
        assert json.loads(text) == metadata
    else:
        assert "levels" in refused


def test_metadata_may_be_any_mapping_and_sequence() -> None:
    """
    Tuples and other mappings are taken for what JSON makes of them.
    """
    assert encode_metadata(None) == "{}"
    assert encode_metadata({"a": (1, 2)}) == '{"a":[1,2]}'


def test_metadata_that_contains_itself_is_too_deep() -> None:
    """
    R14: a mapping that contains itself is refused, not followed for ever.
    """
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    with pytest.raises(ValueError, match="levels"):
        encode_metadata(metadata)


@given(ttl=st.floats(min_value=1e-9, max_value=3e9))
def test_fractions_of_a_second_count(ttl: float) -> None:
    """
    A time to live is never rounded down to nothing.
    """
    assert convert_ttl(ttl) >= max(1, ttl * 1e6)


def test_strict_is_the_guides_own_validator() -> None:
    """
    Strict takes what the guide's validator takes, and its message has no value.
    """
    for text in ("x", "123", "my_custom_session_001", "A-b", "x" * 255):
        assert strict(text) is None  # type: ignore[func-returns-value]
    for text in ("", "a b", "a/b", "\u0661", "x" * 256, "x\n"):
        with pytest.raises(ValueError, match="session_id is refused"):
            strict(text)


class Colliding(MemoryStore):
    """
    A store in which two IDs have one key, as no two are known to.
    """

    def ask(self, question: Question[Any]) -> Any:
        return Row("another", None, "{}", 0, None)


def test_two_ids_with_one_key_are_not_mixed_up() -> None:
    """
    The ID is kept beside its key and compared on read.
    """
    registry = registry_on(Colliding())
    assert registry.get("another").session_id == "another"
    with pytest.raises(SessionNotFound):
        registry.get("one")
    assert not registry.exists("one")


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(str, id="nothing"),
        pytest.param(lambda: "a\n", id="a line end"),
        pytest.param(int, id="a number"),
    ],
)
def test_a_generator_that_makes_no_id_is_told(made: Any) -> None:
    """
    R7: what a generator makes is checked like any ID, and is not taken for the caller's fault.
    """
    with SessionRegistry.open("memory://", mint=made) as registry:
        with pytest.raises(PolicyError, match="mint makes an invalid ID") as raised:
            registry.create()
        assert not isinstance(raised.value, ValueError)


def test_a_verb_asks_and_never_waits() -> None:
    """
    Verbs are pure: each yields its question and is sent the answer.
    """
    verb = Verbs(ttl=1.5).create("s1", None, None, None, None)
    draft = Draft(sha256(b"s1").digest(), "s1", None, None, "{}", 1_500_000)
    assert next(verb) == Insert(draft)
    with pytest.raises(StopIteration) as done:
        verb.send(Row("s1", None, "{}", 1_000_000, None))
    assert done.value.value.created_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_both_registries_have_the_same_verbs() -> None:
    """
    One face has what the other has, with the same arguments.
    """
    import inspect

    for name, verb in vars(SessionRegistry).items():
        if not name.startswith("_"):
            other = getattr(AsyncSessionRegistry, name)
            if isinstance(verb, property):
                assert isinstance(other, property)
                continue
            parameters = list(inspect.signature(getattr(SessionRegistry, name)).parameters.items())
            assert list(inspect.signature(other).parameters.items()) == parameters
            assert verb is not None


def test_a_registry_is_a_context_manager() -> None:
    """
    Both registries close themselves behind a block.
    """
    with SessionRegistry.open("memory://") as registry:
        assert isinstance(registry, SessionRegistry)

    async def opened() -> None:
        async with AsyncSessionRegistry.open("memory://") as awaited:
            assert isinstance(awaited, AsyncSessionRegistry)

    asyncio.run(opened())


def test_a_walk_goes_through_all_of_its_parts() -> None:
    """
    A walk through more sessions than a part has meets them all, by both registries.
    """
    with SessionRegistry.open("memory://") as registry:
        names = {registry.create(client_id="c").session_id for _ in range(1500)}
        assert {record.session_id for record in registry.walk()} == names

    async def walk() -> None:
        registry = AsyncSessionRegistry.open("memory://")
        made = {(await registry.create()).session_id for _ in range(1500)}
        assert {record.session_id async for record in registry.walk()} == made

    asyncio.run(walk())


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RegistryUnavailable("redis", stale=True), id="unavailable"),
        pytest.param(RegistryMisconfigured("redis", "the password is wrong"), id="misconfigured"),
        pytest.param(IdempotencyMismatch("k1"), id="mismatch"),
    ],
)
def test_an_error_goes_to_another_process_whole(error: IDLanyardError) -> None:
    """
    An error is copied and pickled with its evidence.
    """
    for other in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


def test_closing_forgets_no_session(tmp_path: Path) -> None:
    """
    A registry that is closed, as at a shutdown, forgets nothing.
    """
    url = f"sqlite:///{tmp_path}/sessions.db"
    with SessionRegistry.open(url) as registry:
        registry.create("s1", client_id="c", metadata={"a": 1})
    with SessionRegistry.open(url) as registry:
        assert registry.get("s1").metadata == {"a": 1}
