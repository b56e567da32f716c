"""
What an integration of one's own may use: ``idlanyard.integrations.custom``.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from idlanyard import (
    UNSET,
    IDSpec,
    Policy,
    SessionContext,
    get_session_context,
    identify,
    session_context,
    session_spec,
    tenant_spec,
    use_policy,
    user_spec,
    without,
)
from idlanyard._failures import failures
from idlanyard.asgi import SessionContextMiddleware
from idlanyard.integrations.custom import (
    bind_job,
    current_request,
    is_bound,
    report_failure,
    show_current_ids,
)
from idlanyard.testing import override, raise_failures

CARRIER = {"session_id": "s1", "user_id": ["alice", "peer"]}


def shown(sink: Literal["log", "span"], error: BaseException | None = None) -> dict[str, str]:
    """
    Return the IDs that are set and shown: other modules may declare more IDs.
    """
    found = show_current_ids(sink, error)
    assert {"session_id", "user_id", "tenant_id"} <= found.keys()
    return {name: text for name, text in found.items() if text is not None}


def fail_in_a_job() -> BaseException:
    """
    Return an exception that has left the block of a job.
    """
    with pytest.raises(LookupError) as caught, bind_job(CARRIER):
        raise LookupError("nothing there")
    return caught.value


class TestBindJob:
    """
    ``bind_job`` is the block that a job runs in.
    """

    @pytest.mark.parametrize("carrier", [None, {}, "text", 5, {"session_id": "no ID\n"}])
    def test_a_job_without_ids_has_none(self, carrier: object) -> None:
        """R13: whatever is bound around it, and whatever came in place of a carrier."""
        with session_context("outer"), bind_job(carrier):
            assert get_session_context().is_empty()

    def test_a_job_has_its_ids_and_no_others(self) -> None:
        """R13: an ID that the carrier lacks is absent, and what was bound before is restored."""
        with session_context("outer", tenant_id="acme"):
            with bind_job(CARRIER):
                assert get_session_context().as_dict() == {"session_id": "s1", "user_id": "alice"}
            assert get_session_context().as_dict() == {"session_id": "outer", "tenant_id": "acme"}

    def test_the_caller_lends_its_ids_where_it_is_told_to(self) -> None:
        """R13: only a job without a carrier has the IDs of its caller, and only if asked for."""
        with session_context("outer"):
            with bind_job(None, inherit=True):
                assert get_session_context() == SessionContext("outer")
            with bind_job(CARRIER, inherit=True):
                assert get_session_context() == SessionContext("s1", "alice")

    def test_an_identified_job_leaves_its_caller_alone(self) -> None:
        """R2, R13: ``identify`` changes the job in every thread, and not the code around it."""
        with session_context("outer"):
            with bind_job(None, inherit=True), ThreadPoolExecutor(1) as pool:
                request = current_request()
                identify(user_id="bob")
                assert request is not None
                assert pool.submit(lambda: request.user_id).result() == "bob"
            assert get_session_context().user_id is None

    def test_an_exception_keeps_the_ids_of_its_job(self) -> None:
        """R14: a line that is logged about it later shows them."""
        assert not is_bound()
        assert shown("log", fail_in_a_job()) == {"session_id": "s1", "user_id": "alice"}

    def test_a_job_that_is_entered_by_hand_is_left_by_hand(self) -> None:
        """R13: signals before and after a job enter and leave its block."""
        block = bind_job(CARRIER)
        block.__enter__()
        assert get_session_context().session_id == "s1"
        block.__exit__(None, None, None)
        assert not is_bound()


class TestCurrentRequest:
    """
    ``current_request`` is the request or job that code belongs to.
    """

    def test_it_follows_identify_and_outlives_the_request(self) -> None:
        """R2: it is no snapshot, and keeps the last IDs."""
        with bind_job(CARRIER):
            request = current_request()
            identify(user_id="bob", session_id=UNSET)
        assert request is not None
        assert request.as_dict() == {"user_id": "bob"}

    def test_a_block_inside_the_request_is_not_in_it(self) -> None:
        """R2: a ``session_context`` changes the code in it, not the request."""
        with bind_job(CARRIER), session_context("inner"):
            assert current_request() == SessionContext("s1", "alice")

    def test_a_middleware_makes_one(self) -> None:
        """R2: an ASGI application belongs to the request that its middleware has bound."""
        found: list[SessionContext | None] = []

        async def app(scope: object, receive: object, send: object) -> None:
            found.append(current_request())

        async def receive() -> dict[str, object]:
            return {"type": "http.request"}

        async def send(message: dict[str, object]) -> None: ...

        scope = {"type": "http", "headers": [(b"x-session-id", b"s1")]}
        asyncio.run(SessionContextMiddleware(app)(scope, receive, send))
        assert found == [SessionContext("s1")]

    def test_outside_there_is_none(self) -> None:
        """R1: a block of code is neither a request nor a job."""
        assert current_request() is None
        with session_context("s1"):
            assert current_request() is None


def test_whatever_binds_is_told_from_nothing() -> None:
    """
    R1: a job and a block bind; the environment, and a block of ``without``, do not.
    """
    assert not is_bound()
    with session_context("s1"):
        assert is_bound()
        with without():
            assert not is_bound()
    with bind_job(None):
        assert is_bound()


class TestShowCurrentIDs:
    """
    ``show_current_ids`` is what a sink may show.
    """

    def test_the_bound_ids_come_before_those_of_an_exception(self) -> None:
        """R14: an exception of another request, logged inside one, does not name that one."""
        error = fail_in_a_job()
        with bind_job({"session_id": "s2"}):
            assert shown("log", error) == {"session_id": "s2"}

    def test_an_exception_without_ids_is_no_matter(self) -> None:
        """R14: most exceptions come from somewhere else."""
        assert shown("log", ValueError()) == {}

    def test_each_sink_has_rules(self) -> None:
        """S25: an ID is shown, hashed or left out, as the rules say for this sink."""
        policy = Policy(
            session=session_spec(log="hash"),
            user=user_spec(log="omit"),
            tenant=tenant_spec(span="omit"),
            hash_keys=[("k1", "0" * 32)],
        )
        undo = use_policy(policy)
        try:
            with session_context("s1", "alice", "acme"):
                logged, traced = shown("log"), shown("span")
        finally:
            undo()
        assert logged.pop("session_id").startswith("k1:")
        assert logged == {"tenant_id": "acme"}
        assert traced == {"session_id": "s1", "user_id": "alice"}

    def test_every_declared_id_has_a_key(self) -> None:
        """R11: a format may name an ID of any policy of this process."""
        policy = Policy(extra=[IDSpec(name="shown_id", header="X-Shown-ID")])
        with session_context("s1"):
            found = show_current_ids("log")
        assert policy.extra
        assert (found["session_id"], found["shown_id"]) == ("s1", None)


class TestReportFailure:
    """
    ``report_failure`` keeps a broken sink from breaking a request.
    """

    def test_a_failure_is_counted_and_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """R14: the first is logged with its traceback, the others are counted."""
        with caplog.at_level(logging.ERROR, "idlanyard"):
            for _ in range(3):
                report_failure("tests of custom", ValueError("broken"), reason="full")
        assert failures["tests of custom: full"] == 3
        [record] = caplog.records
        assert record.getMessage().startswith("idlanyard: tests of custom failed (full)")
        assert record.exc_info is not None

    @pytest.mark.parametrize("block", [raise_failures, override])
    def test_a_test_sees_the_failure(self, block: type[raise_failures | override]) -> None:
        """R14: under test it is raised, so that it cannot be overlooked."""
        with block(), pytest.raises(ValueError, match="broken"):
            report_failure("tests of custom, raised", ValueError("broken"))
