"""
Outside a request: clearing gives the environment back, and the policy in use is in force at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from idlanyard import (
    UNSET,
    Policy,
    clear_session_context,
    clear_session_id,
    context,
    dump,
    effective_session_id,
    get_id,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    process_session_id,
    request_spec,
    session_context,
    session_spec,
    set_session_context,
    set_session_id,
    use_policy,
)
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations import logging as ids_logging

STATIC = {
    "IDLANYARD_SESSION_ID": "own",
    "OTEL_INSTRUMENTATION_GENAI_SESSION_ID": "genai",
    "IDLANYARD_USER_ID": "env-user",
}


def with_environment(values: dict[str, str], check: Callable[[], None]) -> None:
    """
    Run *check* in a Context of its own while the environment has *values*.
    """
    before = dict(os.environ)
    os.environ.update(values)
    try:
        contextvars.Context().run(check)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(
    "clear",
    [
        pytest.param(clear_session_id, id="clear_session_id"),
        pytest.param(clear_session_context, id="clear_session_context"),
        pytest.param(lambda: set_session_id(None), id="set_session_id(None)"),
        pytest.param(lambda: set_session_id(""), id="set_session_id('')"),
        pytest.param(context.clear, id="context.clear"),
        pytest.param(lambda: context.set(None), id="context.set(None)"),
    ],
)
def test_clearing_gives_the_environment_back(clear: Callable[[], None]) -> None:
    """
    R2.4: outside a request clearing takes back what was set, and hides nothing.
    """

    def check() -> None:
        for _ in range(2):
            assert (get_session_id(), effective_session_id()) == ("own", "own")
            set_session_id("mine")
            assert effective_session_id() == "mine"
            clear()
            assert (get_session_id(), effective_session_id()) == ("own", "own")
            clear()
        del os.environ["IDLANYARD_SESSION_ID"]
        assert (get_session_id(), get_user_id()) == ("genai", "env-user")

    with_environment(STATIC, check)


def test_clearing_one_keeps_the_others() -> None:
    """
    R2.4: clear_session_id leaves what else was set, and a block restores what it found.
    """

    def check() -> None:
        set_session_context("s", user_id="u")
        clear_session_id()
        assert (get_session_id(), get_user_id()) == ("own", "u")
        with session_context("block", user_id=UNSET):
            clear_session_context()
            assert (get_session_id(), get_user_id()) == ("own", "env-user")
        assert (get_session_id(), get_user_id()) == ("own", "u")

    with_environment(STATIC, check)


def test_unset_still_hides_the_environment() -> None:
    """
    R2.2: outside a request UNSET hides, in identify as well, until it is cleared.
    """

    def check() -> None:
        identify(session_id=UNSET)
        assert get_session_id() is None
        assert effective_session_id() == process_session_id()
        clear_session_id()
        assert get_session_id() == "own"

    with_environment(STATIC, check)


def test_in_a_request_clearing_hides() -> None:
    """
    R2.4: in a request clearing hides here, and the environment plays no part.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clear_session_context()
        assert get_session_context().is_empty()
        identify(user_id="u")
        clear_session_id()
        assert get_session_context().as_dict() == {"user_id": "u"}

    scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s")]}
    with_environment(
        STATIC,
        lambda: asyncio.run(SessionContextMiddleware(app)(scope, None, None)),
    )


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """
    Return a function that returns what the logger of idlanyard has warned of.
    """
    with caplog.at_level(logging.DEBUG, "idlanyard"):
        yield lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("environ", "found", "said"),
    [
        pytest.param(
            {"IDLANYARD_SESSION_ID": "Static User"},
            "genai",
            "idlanyard: the environment's IDLANYARD_SESSION_ID is refused, character not allowed",
            id="shadowing",
        ),
        pytest.param(
            {"IDLANYARD_SESSION_ID": "", "OTEL_INSTRUMENTATION_GENAI_SESSION_ID": "x" * 300},
            "parent",
            "idlanyard: the environment's OTEL_INSTRUMENTATION_GENAI_SESSION_ID is refused, too",
            id="last but the parent's",
        ),
        pytest.param(
            {
                "IDLANYARD_SESSION_ID": "",
                "OTEL_INSTRUMENTATION_GENAI_SESSION_ID": "",
                "IDLANYARD_CONTEXT": json.dumps({"session_id": ["a b", "code"]}),
            },
            None,
            "idlanyard: the environment's session_id in IDLANYARD_CONTEXT is refused, character",
            id="the parent's",
        ),
        pytest.param(
            {
                "IDLANYARD_SESSION_ID": "",
                "OTEL_INSTRUMENTATION_GENAI_SESSION_ID": "",
                "IDLANYARD_CONTEXT": "{",
            },
            None,
            "idlanyard: IDLANYARD_CONTEXT is no short JSON object: write json.dumps(dump())",
            id="no JSON",
        ),
    ],
)
def test_an_invalid_static_id_warns_once(
    environ: dict[str, str],
    found: str | None,
    said: str,
    warnings: Callable[[], list[str]],
) -> None:
    """
    R6: a variable that holds no ID is passed over, with one warning and never its value.
    """
    parents = {"IDLANYARD_CONTEXT": json.dumps({"session_id": ["parent", "code"]})}

    def check() -> None:
        for _ in range(3):
            assert get_session_id() == found
            assert get_session_context().session_id == found
        assert effective_session_id() == (found or process_session_id())

    with_environment(STATIC | parents | environ, check)
    assert [line[: len(said)] for line in warnings()] == [said]
    assert not any(bad in line for line in warnings() for bad in ("Static User", "xxx", "a b"))


@pytest.mark.parametrize("entry", [[], [1], 1, None, {}], ids=repr)
def test_a_parent_may_say_nothing_of_an_id(
    entry: object, warnings: Callable[[], list[str]]
) -> None:
    """
    A value in IDLANYARD_CONTEXT that is no ID at all is passed over.
    """
    carried = {"IDLANYARD_CONTEXT": json.dumps({"session_id": entry})}

    def check() -> None:
        assert get_session_id() is None

    with_environment(carried, check)
    assert warnings() == []


def test_the_policy_in_use_holds_for_what_was_bound_before() -> None:
    """
    R10: outside a request use_policy is in force at once, for log lines, jobs and hashes too.
    """
    made: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: made.append(str(vars(record)["session_id"]))  # type: ignore[method-assign]
    logger = logging.getLogger("tests.outside")
    logger.addHandler(handler)
    undo_install = ids_logging.install()

    def check() -> None:
        set_session_context("secret-session")
        logger.warning("one")
        rules = Policy(
            session=session_spec(log="hash", span="omit", job=False),
            hash_keys=[("k", "x" * 32)],
            extra=[request_spec()],
        )
        undo = use_policy(rules)
        try:
            logger.warning("two")
            assert get_session_context().as_attributes() == {}
            assert "secret" not in repr(get_session_context())
            assert dump() == {}
            set_session_context(request_id="r1")
            assert (get_id("request_id"), get_session_id()) == ("r1", "secret-session")
            with session_context(user_id="u"):
                assert get_session_context().as_dict() == {
                    "session_id": "secret-session",
                    "user_id": "u",
                    "request_id": "r1",
                }
        finally:
            undo()
        logger.warning("three")
        assert get_session_context().as_dict() == {"session_id": "secret-session"}
        with pytest.raises(TypeError, match=r"write use_policy\(Policy\(extra=\[request_spec"):
            get_id("request_id")

    try:
        contextvars.Context().run(check)
    finally:
        undo_install()
        logger.removeHandler(handler)
    assert (made[0], made[2]) == ("secret-session", "secret-session")
    assert made[1].startswith("k:")


def test_a_requests_policy_stays_its_own() -> None:
    """
    R10: a block in a request has the rules of its scope, whatever is used outside meanwhile.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with session_context(request_id="r"):
            undo = use_policy(Policy(session=session_spec(span="omit")))
            try:
                shown = get_session_context().as_attributes()
            finally:
                undo()
        assert shown == {"session.id": "s", "request.id": "r"}

    scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s")]}
    middleware = SessionContextMiddleware(app, Policy(extra=[request_spec()]))
    asyncio.run(middleware(scope, None, None))
