"""
Keys are fetched by one thread and kept through every failure, and no request waits for them.
"""

from __future__ import annotations

import logging
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from assertions import key_servers
from assertions.forking import fork_in_another_process
from assertions.key_servers import Answer, KeyServer, whole
from assertions.minting import ec_key, jwk_of, jwks_of, pem_of, rsa_key
from idlanyard import get_session_id, session_context
from idlanyard._failures import LOGGER, failures
from idlanyard.signing._assertions.fetching import fetch_answer, parse_key_url
from idlanyard.signing._assertions.key_source import FetchedKeys, Load, load_by_id, load_key_set
from idlanyard.signing._assertions.keys import Keys, read_answer, read_key_set, read_pem

OLD, NEW = jwk_of(rsa_key("ours"), "old"), jwk_of(rsa_key("theirs"), "new")


class Clock:
    """
    A clock that a test moves.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def loading(server: KeyServer, bad: Answer | None = None) -> Load:
    """
    Return the function that fetches the key set of a server, with little patience for one answer.
    """
    url = parse_key_url(server.url)
    assert url is not None

    def load(keys: Keys, kid: str) -> Keys:
        seconds = 0.5 if server.answer is bad else 30
        return read_answer(fetch_answer(url, seconds), "RS256")

    return load


@contextmanager
def fetched(load: Load, **options: Any) -> Iterator[FetchedKeys]:
    """
    Open keys for a while.
    """
    keys = FetchedKeys(load, "keys.example", look=0.01, **options)
    try:
        yield keys
    finally:
        keys.close()


def has(keys: FetchedKeys, kid: str) -> bool:
    """
    Return whether a key is there now.
    """
    found = keys.get_keys()
    return found is not None and found.has(kid)


def test_keys_are_fetched_without_being_asked_for() -> None:
    """
    The first request finds the keys there if the server is quick; until then there are none.
    """
    gate = threading.Event()

    def late(keys: Keys, kid: str) -> Keys:
        gate.wait(30)
        return read_key_set(jwks_of(OLD), "RS256")

    with fetched(late) as keys:
        assert (keys.get_keys(), keys.wait_for_keys(0)) == (None, False)
        keys.ask_for("old")
        gate.set()
        assert (keys.wait_for_keys(30), has(keys, "old")) == (True, True)


def test_a_new_key_is_found_by_the_token_that_names_it() -> None:
    """
    A rotation is noticed at the first token of the new key, and the old key leaves.
    """
    with KeyServer(key_servers.keys(jwks_of(OLD))) as server:
        url = parse_key_url(server.url)
        assert url is not None
        with fetched(load_key_set(url, "RS256")) as keys:
            assert keys.wait_for_keys(30)
            server.answer = key_servers.keys(jwks_of(NEW))
            assert (has(keys, "old"), has(keys, "new")) == (True, False)
            keys.ask_for("new")
            keys.wait_for_refresh(30)
            assert (has(keys, "old"), has(keys, "new")) == (False, True)


def test_unknown_keys_are_asked_for_once_a_minute() -> None:
    """
    S23: however many tokens name keys that nobody has, the key server has one request a minute.
    """
    clock = Clock()
    with (
        KeyServer(key_servers.keys(jwks_of(OLD))) as server,
        fetched(loading(server), clock=clock) as keys,
    ):
        assert keys.wait_for_keys(30)
        counts: list[int] = []
        for seconds in (0, 30, 29, 1, 1, 59):
            clock.now += seconds
            for number in range(100):
                keys.ask_for(f"unknown-{number}")
            keys.wait_for_refresh(30)
            counts.append(len(server.asked))
        assert counts == [2, 2, 2, 3, 3, 4]


def test_keys_are_fetched_again_every_hour() -> None:
    """
    A key that was withdrawn leaves within an hour, also if no token names another one.
    """
    clock = Clock()
    asked: list[str] = []
    again = threading.Event()

    def load(keys: Keys, kid: str) -> Keys:
        asked.append(kid)
        if len(asked) > 1:
            again.set()
        return read_key_set(jwks_of(OLD), "RS256")

    with fetched(load, clock=clock) as keys:
        assert keys.wait_for_keys(30)
        clock.now += 3599
        assert not again.wait(0.1)
        clock.now += 1
        assert again.wait(30)


BAD = [
    pytest.param(whole(b"{}", "302 Found", "Location: /x"), "status 302", id="redirects"),
    pytest.param(whole(b"{}", "503 Busy"), "status 503", id="503"),
    pytest.param(whole(b"{}"), "no key set (JWKS)", id="no key set"),
    pytest.param(whole(b"", "404 Not Found"), "status 404", id="404"),
    pytest.param(whole(b"<html>"), "no JSON", id="a page"),
    pytest.param(
        key_servers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "no JSON", id="cut off"
    ),
    pytest.param(key_servers.raw(b"HTTP/1.1 200 OK\r\n"), "no JSON", id="half a header"),
    pytest.param(whole(b"\xff\xfe\x00"), "no JSON", id="garbage"),
    pytest.param(
        key_servers.flood(b"HTTP/1.1 200 OK\r\n\r\n"), "more than 256000 bytes", id="10 MB"
    ),
    pytest.param(key_servers.hang, "no answer in time", id="hangs"),
    pytest.param(key_servers.drip(b"HTTP/1.1 200 OK\r\n\r\n"), "no answer in time", id="drips"),
]


@pytest.mark.parametrize(("answer", "why"), BAD)
def test_the_last_good_keys_stay(
    answer: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A key server that hangs, lies, redirects or sends too much takes no key away, and is reported
    once.
    """
    clock = Clock()
    with (
        KeyServer(key_servers.keys(jwks_of(OLD))) as server,
        fetched(loading(server, answer), clock=clock) as keys,
    ):
        assert keys.wait_for_keys(30)
        server.answer = answer
        for _ in range(3):
            clock.now += 61
            keys.ask_for("new")
            keys.wait_for_refresh(30)
        assert has(keys, "old")
        # By themselves as well, at the end of each pause.
        assert len(server.asked) >= 4
        server.answer = key_servers.keys(jwks_of(NEW))
        clock.now += 61
        keys.ask_for("new")
        keys.wait_for_refresh(30)
        assert has(keys, "new")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"there was {why}: the last good ones count for 24 hours at most")
    assert failures[f"the keys of keys.example: {why}"] >= 3


@pytest.mark.parametrize(
    "found", [jwks_of(), jwks_of(jwk_of(ec_key("ours"), "old"))], ids=["none", "of another kind"]
)
def test_a_key_set_without_keys_is_an_answer(
    found: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """
    An issuer that withdraws all of its keys is obeyed, and it is logged once.
    """
    clock = Clock()
    with KeyServer(key_servers.keys(jwks_of(OLD))) as server:
        with fetched(loading(server), clock=clock) as keys:
            assert keys.wait_for_keys(30)
            server.answer = key_servers.keys(found)
            for _ in range(2):
                clock.now += 3600
                keys.ask_for("new")
                keys.wait_for_refresh(30)
                assert (has(keys, "old"), keys.get_keys() is None) == (False, False)
            server.answer = key_servers.keys(jwks_of(NEW))
            clock.now += 60
            keys.ask_for("new")
            keys.wait_for_refresh(30)
            assert has(keys, "new")
        with fetched(load_set(server)) as keys:
            assert keys.wait_for_keys(30)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "idlanyard: the key server keys.example has no public key for RS256: "
        "tokens are refused until it has one"
    )


def load_set(server: KeyServer) -> Load:
    """
    Return the function that fetches the key set of a server as an assertion does.
    """
    url = parse_key_url(server.url)
    assert url is not None
    return load_key_set(url, "RS256")


def test_keys_count_for_a_day_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """
    A key set that cannot be fetched for 24 hours counts no longer, until the server works again.
    """
    clock = Clock()
    with (
        KeyServer(key_servers.keys(jwks_of(OLD))) as server,
        fetched(loading(server), clock=clock) as keys,
    ):
        assert keys.wait_for_keys(30)
        server.answer = whole(b"", "503 Busy")
        counts: list[bool] = []
        for seconds in (86_399, 60):
            clock.now += seconds
            keys.ask_for("new")
            keys.wait_for_refresh(30)
            counts.append(has(keys, "old"))
        assert (counts, keys.get_keys(), keys.wait_for_keys(0)) == ([True, False], None, False)
        server.answer = key_servers.keys(jwks_of(OLD))
        clock.now += 60
        assert keys.wait_for_keys(30)
    _, line = [record.getMessage() for record in caplog.records]
    assert line == (
        "idlanyard: the keys of keys.example could not be fetched for 24 hours and no longer "
        "count: tokens are refused until they are there"
    )


@contextmanager
def single_keys(clock: Clock) -> Iterator[tuple[KeyServer, FetchedKeys]]:
    """
    Open keys that are fetched one by one, two of which are there.
    """
    with KeyServer(whole(pem_of(ec_key("ours")).encode())) as server:
        url = parse_key_url(f"{server.url}/{{kid}}")
        assert url is not None
        with fetched(load_by_id(url, "ES256"), by_id=True, clock=clock) as keys:
            for kid in ("k1", "k2"):
                assert keys.get_keys() is not None
                keys.ask_for(kid)
                keys.wait_for_refresh(30)
            assert (has(keys, "k1"), has(keys, "k2")) == (True, True)
            yield server, keys


GONE = [
    (whole(b"", "403 Forbidden"), "status 403"),
    (whole(b"", "404 Not Found"), "status 404"),
    (whole(b"", "410 Gone"), "status 410"),
    (whole(pem_of(rsa_key("ours")).encode()), "no public key for ES256"),
]


@pytest.mark.parametrize(("answer", "why"), GONE, ids=[why for _, why in GONE])
def test_a_single_key_that_is_withdrawn_leaves(
    answer: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Single keys are fetched again every hour, and leave if the server says that they are not there.
    """
    clock = Clock()
    with single_keys(clock) as (server, keys):
        server.answer = answer
        clock.now += 3599
        keys.ask_for("k3")
        keys.wait_for_refresh(30)
        assert (has(keys, "k1"), has(keys, "k2"), len(server.asked)) == (True, True, 3)
        clock.now += 60
        keys.ask_for("k3")
        keys.wait_for_refresh(30)
        assert (has(keys, "k1"), has(keys, "k2")) == (False, False)
        assert sorted(server.asked[3:]) == ["/keys/k1", "/keys/k2", "/keys/k3"]
    gone = f"idlanyard: a key of keys.example is withdrawn, there was {why}: its tokens are refused"
    assert [record.getMessage() for record in caplog.records] == [
        f"idlanyard: a key that a token names is not at keys.example, there was {why}",
        gone,
        gone,
    ]


def test_single_keys_stay_for_a_day_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """
    A server that cannot be reached takes single keys away after 24 hours, and not before; of one
    that answers again each key is fetched.
    """
    clock = Clock()
    with single_keys(clock) as (server, keys):
        good = server.answer
        server.answer = whole(b"", "503 Busy")
        clock.now += 86_399
        keys.ask_for("k3")
        keys.wait_for_refresh(30)
        assert (has(keys, "k1"), has(keys, "k2")) == (True, True)
        server.answer = good
        clock.now += 60
        keys.ask_for("k3")
        keys.wait_for_refresh(30)
        assert (has(keys, "k1"), has(keys, "k2"), has(keys, "k3")) == (True, True, True)
        server.answer = whole(b"", "503 Busy")
        clock.now += 86_400
        keys.ask_for("k4")
        keys.wait_for_refresh(30)
        assert [has(keys, kid) for kid in ("k1", "k2", "k3")] == [False] * 3
    assert (
        caplog.records[-1]
        .getMessage()
        .startswith("idlanyard: the keys of keys.example could not be fetched for 24 hours")
    )


def test_each_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """
    Its beginning with the cause and its end, whatever went wrong before; failures are counted.
    """
    caplog.set_level(logging.INFO)
    clock = Clock()
    with (
        KeyServer(key_servers.keys(jwks_of(OLD))) as server,
        fetched(loading(server), clock=clock) as keys,
    ):
        assert keys.wait_for_keys(30)
        for _ in range(2):
            for answer in (whole(b"", "503 Busy"), whole(b"<"), key_servers.keys(jwks_of(OLD))):
                server.answer = answer
                clock.now += 61
                keys.ask_for("new")
                keys.wait_for_refresh(30)
    begun = (
        "idlanyard: the keys of keys.example could not be fetched, there was status 503: "
        "the last good ones count for 24 hours at most"
    )
    ended = "idlanyard: the keys of keys.example can be fetched again"
    said = [record.getMessage() for record in caplog.records]
    assert said == [begun, ended, begun, ended]
    shown = begun.replace("keys.example", "login.example").replace(
        "status 503", "no answer in time"
    )
    page = Path(__file__).parents[2].joinpath("docs", "assertions.md").read_text(encoding="utf-8")
    assert f"\n```text\n{shown}\n```\n" in page
    assert failures["the keys of keys.example: no JSON"] >= 2


class Refusing(logging.Filter):
    """
    A filter of the application that fails.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Raise for each record.
        """
        raise RuntimeError(record.name)


def test_a_log_that_fails_ends_no_thread() -> None:
    """
    Keys come as soon as the server works, also if the failure before could not be logged.
    """
    clock, refusing = Clock(), Refusing()
    LOGGER.addFilter(refusing)
    try:
        with (
            KeyServer(whole(b"", "503 Busy")) as server,
            fetched(loading(server), clock=clock) as keys,
        ):
            keys.wait_for_refresh(30)
            assert keys.get_keys() is None
            server.answer = key_servers.keys(jwks_of(OLD))
            clock.now += 60
            assert keys.wait_for_keys(30)
    finally:
        LOGGER.removeFilter(refusing)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced() -> None:
    """
    The next token begins another thread, whatever ended the first one.
    """
    threads: list[threading.Thread] = []
    first = threading.Event()

    def load(keys: Keys, kid: str) -> Keys:
        threads.append(threading.current_thread())
        if not first.is_set():
            first.set()
            raise SystemExit
        return read_key_set(jwks_of(OLD), "RS256")

    begun = FetchedKeys(load, "keys.example")
    assert first.wait(30)
    threads[0].join(30)
    assert (begun.get_keys() or begun.wait_for_keys(30), len(threads)) == (True, 2)
    begun.close()


def test_keys_that_are_closed_keep_nobody_waiting() -> None:
    """
    After the end an unknown key ID asks for nothing, and whoever waits is released.
    """
    gate = threading.Event()
    waiting = threading.Barrier(3)
    found: list[object] = []

    def load(keys: Keys, kid: str) -> Keys:
        gate.wait(30)
        return read_key_set(jwks_of(OLD), "RS256")

    with fetched(load) as keys:

        def wait_for_keys() -> None:
            waiting.wait(30)
            found.append(keys.wait_for_keys(60))

        def wait_for_refresh() -> None:
            waiting.wait(30)
            keys.wait_for_refresh(60)
            found.append(None)

        waiters = [threading.Thread(target=wait) for wait in (wait_for_keys, wait_for_refresh)]
        for thread in waiters:
            thread.start()
        waiting.wait(30)
        # Whether they wait by then, or come later: closing once more ends it.
        while any(thread.is_alive() for thread in waiters):
            keys.close()
            waiters[0].join(0.01)
        gate.set()
    keys.ask_for("new")
    keys.wait_for_refresh(60)
    assert sorted(map(str, found)) == ["False", "None"]


def test_keys_that_were_closed_are_opened_again() -> None:
    """
    A second life of the application fetches keys as the first one did, withdrawn ones included.
    """
    clock = Clock()
    with (
        KeyServer(key_servers.keys(jwks_of(OLD))) as server,
        fetched(loading(server), clock=clock) as keys,
    ):
        for found, kid in ((jwks_of(OLD), "old"), (jwks_of(NEW), "new"), (jwks_of(OLD), "old")):
            server.answer = key_servers.keys(found)
            assert keys.wait_for_keys(30)
            keys.ask_for(kid)
            keys.wait_for_refresh(30)
            assert has(keys, kid)
            clock.now += 61
            keys.close()
            keys.open()
            keys.open()
            keys.close()


def test_single_keys_are_not_waited_for() -> None:
    """
    No token has named one when the application starts: there is nothing to wait for.
    """
    with fetched(lambda keys, kid: keys, by_id=True) as keys:
        assert keys.wait_for_keys(60)


DOWN = (
    "idlanyard: the keys of keys.example could not be fetched, there was ZeroDivisionError: "
    "tokens are refused until they are there"
)


def test_a_key_server_that_is_down_at_first_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Keys come as soon as the server works, after pauses that grow to a minute; an error that is
    nobody's fault is reported by its name.
    """
    ticks = count()
    tried: list[int] = []

    def load(keys: Keys, kid: str) -> Keys:
        tried.append(next(ticks))
        if len(tried) < 9:
            raise ZeroDivisionError
        return read_key_set(jwks_of(OLD), "RS256")

    # A second goes by with each look at the clock.
    with fetched(load, clock=lambda: next(ticks)) as keys:
        assert keys.wait_for_keys(30)
    steps = [later - sooner for sooner, later in pairwise(tried)]
    pauses = [2, 4, 8, 16, 32, 60, 60, 60]
    assert [pause <= step <= pause + 5 for pause, step in zip(pauses, steps, strict=True)] == (
        [True] * len(pauses)
    )
    assert [record.getMessage() for record in caplog.records] == [DOWN]


def test_single_keys_are_fetched_when_a_token_names_them() -> None:
    """
    Each is asked for by its ID once a minute, eight in all, and only by IDs that are plain.
    """
    clock = Clock()
    key = ec_key("ours")
    with KeyServer(whole(pem_of(key).encode())) as server:
        url = parse_key_url(f"{server.url}/{{kid}}")
        assert url is not None
        with fetched(load_by_id(url, "ES256"), by_id=True, clock=clock) as keys:
            assert keys.get_keys() is not None
            for kid in (None, "a/b", "../x", "a.b", "k" * 65, "a?b", "a b"):
                keys.ask_for(kid)
            keys.ask_for("k1")
            keys.wait_for_refresh(30)
            assert (server.asked, has(keys, "k1")) == (["/keys/k1"], True)
            server.answer = whole(b"", "404 Not Found")
            for _ in range(3):
                for number in range(20):
                    keys.ask_for(f"x{number}")
                keys.wait_for_refresh(30)
            assert sorted(server.asked[1:]) == [f"/keys/x{number}" for number in range(7)]
            clock.now += 60
            keys.ask_for("x0")
            keys.wait_for_refresh(30)
            assert (len(server.asked), has(keys, "k1"), has(keys, "x0")) == (9, True, False)


def test_a_thread_ends_with_its_keys() -> None:
    """
    Keys that nobody uses any more leave no thread behind, closed or not.
    """
    threads: list[threading.Thread] = []

    def load(keys: Keys, kid: str) -> Keys:
        threads.append(threading.current_thread())
        return read_key_set(jwks_of(OLD), "RS256")

    dropped = FetchedKeys(load, "keys.example", look=0.01)
    assert dropped.wait_for_keys(30)
    gone = weakref.ref(dropped)
    del dropped
    threads[0].join(30)
    assert (gone(), threads[0].is_alive(), threads[0].daemon) == (None, False, True)
    with fetched(load) as closed:
        assert closed.wait_for_keys(30)
    threads[1].join(30)
    assert not threads[1].is_alive()
    assert (has(closed, "old"), closed.refresh_if_due()) == (True, None)
    closed.close()


def test_a_failure_after_the_end_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """
    A request for keys that is still going on when they are closed is not reported.
    """
    threads: list[threading.Thread] = []
    begun, gate = threading.Event(), threading.Event()

    def load(keys: Keys, kid: str) -> Keys:
        threads.append(threading.current_thread())
        begun.set()
        gate.wait(30)
        raise ZeroDivisionError

    with fetched(load):
        assert begun.wait(30)
    gate.set()
    threads[0].join(30)
    assert (threads[0].is_alive(), caplog.records) == (False, [])


def test_keys_that_are_closed_start_no_thread() -> None:
    """
    Keys that were closed before a token came stay as they were.
    """
    before = threading.active_count()
    keys = FetchedKeys(lambda keys, kid: Keys(), "keys.example", by_id=True)
    keys.close()
    found = keys.get_keys()
    assert (found is not None and len(found), threading.active_count()) == (0, before)


def test_a_key_that_is_asked_for_meanwhile_is_waited_for() -> None:
    """
    A refresh is over when nothing more is asked for.
    """
    key = read_pem(pem_of(rsa_key("ours")), "RS256")

    def load(keys: Keys, kid: str) -> Keys:
        if kid == "first":
            held[0].ask_for("second")
        return keys.add(kid, key)

    with fetched(load, by_id=True) as keys:
        held = [keys]
        assert keys.get_keys() is not None
        keys.ask_for("first")
        keys.wait_for_refresh(30)
        assert (has(keys, "first"), has(keys, "second")) == (True, True)


def test_another_thread_does_not_fetch() -> None:
    """
    One thread fetches, whoever else comes by.
    """
    with fetched(lambda keys, kid: read_key_set(jwks_of(OLD), "RS256")) as keys:
        assert keys.refresh_if_due() is None


def test_the_thread_has_no_ids_of_the_code_that_began_it() -> None:
    """
    The IDs of the request that first looks at a token are not those of the thread, for ever.
    """
    found: list[str | None] = []

    def load(keys: Keys, kid: str) -> Keys:
        found.append(get_session_id())
        return read_key_set(jwks_of(OLD), "RS256")

    with session_context("s1"), fetched(load) as keys:
        assert keys.wait_for_keys(30)
    assert found == [None]


def test_a_thread_that_cannot_start_fails_no_request() -> None:
    """
    Where no thread can be started there are no keys; that is reported once, and tried again.
    """
    before = threading.stack_size(1 << 46)
    try:
        keys = FetchedKeys(lambda keys, kid: read_key_set(jwks_of(OLD), "RS256"), "keys.example")
        assert keys.get_keys() is None
    finally:
        threading.stack_size(before)
    assert failures["the thread that fetches keys"] == 2
    assert keys.wait_for_keys(30)
    keys.close()


@pytest.mark.parametrize("announced", [True, False])
def test_a_fork_has_a_thread_of_its_own(announced: bool) -> None:
    """
    A child process has the keys that were there, and fetches others by itself, also if the server
    forks without telling Python.
    """
    with KeyServer(key_servers.keys(jwks_of(OLD))) as server:

        def answer(connection: socket.socket, stopped: threading.Event) -> None:
            found = jwks_of(OLD) if len(server.asked) == 1 else jwks_of(OLD, NEW)
            key_servers.keys(found)(connection, stopped)

        server.answer = answer
        assert fork_in_another_process(server.url, announced=announced) == {
            "parent": [True, False],
            "child": [True, True],
            "threads": ["idlanyard keys"],
        }
