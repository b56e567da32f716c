"""
loguru's records have the IDs of where they are logged.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import loguru
import pytest
from loguru import logger

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
from idlanyard.integrations.loguru import patcher
from idlanyard.testing import raise_failures
from idlanyard.wsgi import SessionContextMiddleware

UNSET = {"session_id": None, "user_id": None, "tenant_id": None}
KEY = ("k1", "k" * 32)
HASHING = Policy(user=user_spec(log="hash"), tenant=tenant_spec(log="omit"), hash_keys=[KEY])
LEVELS = ["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"]


class Kept(list[Any]):
    """
    The messages in loguru's sink.
    """

    def __call__(self, message: loguru.Message) -> None:
        self.append(message)

    @property
    def extra(self) -> dict[Any, Any]:
        """
        Return the extra fields of the last record, without the unset IDs of other tests' policies.
        """
        found: dict[Any, Any] = self[-1].record["extra"]
        return {name: text for name, text in found.items() if text is not None or name in UNSET}


@pytest.fixture
def kept() -> Iterator[Kept]:
    """
    loguru with our patcher and one sink.
    """
    sink = Kept()
    logger.remove()
    logger.configure(
        handlers=[{"sink": sink, "format": "{extra[session_id]} {message}", "level": "TRACE"}],
        patcher=patcher,
    )
    yield sink
    logger.configure(handlers=[], patcher=lambda record: None)


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


def test_a_record_has_the_ids_in_force(kept: Kept) -> None:
    """
    R11: ``extra`` has what is bound when it is logged, and ``None`` for what is unset.
    """
    early = logger.bind(order=1)
    with session_context("s1", user_id="alice"):
        early.info("inside")
    assert kept.extra == UNSET | {"session_id": "s1", "user_id": "alice", "order": 1}
    assert str(kept[-1]) == "s1 inside\n"
    logger.info("outside")
    assert kept.extra == UNSET


@pytest.mark.parametrize("level", LEVELS)
def test_what_the_application_says_wins(kept: Kept, level: str) -> None:
    """
    Bound, contextualized and given keys stay, at every level.
    """
    with session_context("s1", user_id="alice", tenant_id="acme"), logger.contextualize(user_id=7):
        logger.bind(tenant_id=None).log(level, "x", session_id=9)
    assert kept.extra == {"session_id": 9, "user_id": 7, "tenant_id": None}


def test_sinks_and_declared_ids(kept: Kept) -> None:
    """
    R10, S25: the policy in force says which IDs there are and how they are shown.
    """
    undo = use_policy(Policy(extra=[request_spec()]))
    with session_context("s1", request_id="r1"):
        logger.info("x")
    undo()
    assert kept.extra == UNSET | {"session_id": "s1", "request_id": "r1"}
    undo = use_policy(HASHING)
    with session_context("s1", user_id="alice", tenant_id="acme"):
        logger.info("x")
    undo()
    shown = checked_policy(HASHING).pseudonym("user_id", "alice")
    assert kept.extra == {"session_id": "s1", "user_id": shown, "tenant_id": None}


def test_an_exception_has_the_ids_of_its_request(kept: Kept) -> None:
    """
    Defect 4.19: where nothing is bound any more, the IDs are those that the exception carries.
    """
    error = raised(HASHING)
    logger.opt(exception=error).error("by the server")
    shown = checked_policy(HASHING).pseudonym("user_id", "alice")
    assert kept.extra == {"session_id": "s1", "user_id": shown, "tenant_id": None}

    @logger.catch(message="by somebody who has IDs")
    def again() -> None:
        raise error

    with session_context("s2"):
        again()
    assert kept.extra == UNSET | {"session_id": "s2"}
    # Without an exception loguru's record still has a place for one.
    logger.exception("nothing to see")
    assert kept.extra == UNSET


def test_a_queue_hands_on_what_was_in_force(kept: Kept) -> None:
    """
    With ``enqueue`` the IDs are those of the task that logged.
    """
    late = Kept()
    logger.add(late, enqueue=True, format="{message}")

    async def one(number: int) -> None:
        with session_context(f"s{number}"):
            await asyncio.sleep(0)
            logger.info(f"s{number}")

    async def every() -> None:
        await asyncio.gather(*(one(number) for number in range(10)))
        await logger.complete()

    asyncio.run(every())
    assert len(late) == 10
    assert all(m.record["message"] == m.record["extra"]["session_id"] for m in late)


def test_json_lines_carry_them() -> None:
    """
    With ``serialize`` the IDs are in each line, an unset one as null.
    """
    code = """
import sys
from loguru import logger
from idlanyard import session_context
from idlanyard.integrations.loguru import patcher
logger.configure(handlers=[{"sink": sys.stdout, "serialize": True}], patcher=patcher)
with session_context("s1"):
    logger.info("x")
"""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["record"]["extra"] == UNSET | {"session_id": "s1"}


def test_a_failure_fails_no_line(kept: Kept) -> None:
    """
    R14: a record that we cannot complete is logged as it is; under test the failure is raised.
    """
    broken: Any = {"exception": None}
    patcher(broken)
    assert failures == {"loguru patcher": 1}
    with raise_failures(), pytest.raises(KeyError):
        patcher(broken)
