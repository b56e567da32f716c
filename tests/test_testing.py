"""
What tests of other projects use.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from idlanyard import (
    UNSET,
    Policy,
    Provenance,
    SessionContext,
    get_session_context,
    get_user_id,
    request_spec,
    session_context,
    session_spec,
    subscribe,
    tenant_spec,
    testing,
    user_spec,
)
from idlanyard._binding.state import UNBOUND, Overlay, get_binding
from idlanyard.testing import client_headers, override
from idlanyard.wsgi import SessionContextMiddleware

SRC = Path(testing.__file__).parent


def served(
    policy: Policy | None = None, **environ: str
) -> tuple[str, dict[str, str], dict[str, str]]:
    """
    Serve one POST in another thread; return status, echo and what the application saw.
    """
    answer: list[Any] = []
    saw: dict[str, str] = {}

    def app(environ: Any, start_response: Any) -> Any:
        saw.update(get_session_context().as_dict())
        saw["header"] = environ.get("HTTP_X_USER_ID", "")
        start_response("200 OK", [])
        return []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answer.extend([status, dict(headers)])

    def serve() -> None:
        middleware = SessionContextMiddleware(app, policy or Policy())
        b"".join(middleware({"REQUEST_METHOD": "POST", **environ}, start_response))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(serve).result()
    return answer[0], answer[1], saw


def test_an_override_reaches_requests_in_other_threads() -> None:
    """
    S30: requests handled meanwhile, in any thread, have the IDs, and none afterwards.
    """
    with override(user_id="alice", session_id="s") as bound:
        assert bound == SessionContext("s", "alice")
        assert bound.provenance("user_id") is Provenance.CODE
        status, echo, saw = served(HTTP_X_USER_ID="spoof")
        assert (status, echo) == ("200 OK", {"X-Session-ID": "s", "X-User-ID": "alice"})
        assert saw == {"session_id": "s", "user_id": "alice", "header": "alice"}
    assert get_user_id() is None
    assert "X-User-ID" not in served()[1]


def test_overrides_nest_and_may_hide() -> None:
    """
    S30: an inner override adds to the outer one; UNSET makes an ID absent, None changes nothing.
    """
    with override(user_id="alice", tenant_id="t"), override(tenant_id=UNSET, session_id=UNSET):
        assert served(HTTP_X_SESSION_ID="s")[1] == {"X-User-ID": "alice"}
    with override(user_id="alice"), override(user_id=None, tenant_id=""):
        assert served(HTTP_X_SESSION_ID="s")[1] == {"X-Session-ID": "s", "X-User-ID": "alice"}
    with override():
        assert served(HTTP_X_SESSION_ID="s")[1] == {"X-Session-ID": "s"}


def test_an_override_satisfies_a_demand() -> None:
    """
    R8, S30: a required user that is overridden is there; another demand is still made.
    """
    policy = Policy(user=user_spec(required=True))
    with override(user_id="alice"):
        assert served(policy)[0] == "200 OK"
    with override(tenant_id="t"):
        assert served(policy)[0] == "401 Unauthorized"
    with override(user_id="alice"):
        both = Policy(user=user_spec(required=True), tenant=tenant_spec(required=True))
        assert served(both)[0] == "401 Unauthorized"


def test_what_does_not_fit_the_application_is_not_echoed() -> None:
    """
    S7: an ID that was set under another policy is checked again before it is echoed.
    """
    with override(session_id="longer"):
        assert served(Policy(session=session_spec(max_length=3, mint=None)))[1] == {}


def test_failures_are_raised_meanwhile() -> None:
    """
    R14: under idlanyard.testing a failing hook raises instead of being logged.
    """

    def fail(_: object) -> None:
        raise LookupError("hook")

    undo = subscribe("bind", fail)
    try:
        with override(user_id="u"), pytest.raises(LookupError):
            served()
    finally:
        undo()


def test_nothing_from_outside_reaches_the_override() -> None:
    """
    S30: no header and no variable switches it on: only idlanyard.testing writes what is forced.
    """
    writers = [
        path.name
        for path in SRC.rglob("*.py")
        if re.search(
            r"forced\.(append|extend|insert|remove|clear|pop)|forced\[.*\] =",
            path.read_text("utf-8"),
        )
    ]
    assert writers == ["testing.py"]
    assert not re.search(
        r"os\.environ|getenv|headers\[",
        SRC.joinpath("testing.py").read_text("utf-8").split("def client_headers")[0],
    )


def test_client_headers_are_what_a_proxy_would_send() -> None:
    """
    The headers of the policy, with its secret where it has one.
    """
    policy = Policy(shared_secret=("X-Proxy-Secret", "s" * 32), extra=[request_spec()])
    assert client_headers(
        policy, user_id="u", customer_id="t", session_id=None, request_id="r"
    ) == {
        "X-User-ID": "u",
        "X-Tenant-ID": "t",
        "X-Request-ID": "r",
        "X-Proxy-Secret": "s" * 32,
    }
    assert client_headers(session_id="s") == {"X-Session-ID": "s"}
    assert client_headers(session_id="s", user_id="", tenant_id=None) == {"X-Session-ID": "s"}
    assert client_headers(session_id=UNSET) == {}
    with pytest.raises(TypeError, match="not a declared ID"):
        client_headers(unknown="x")
    with pytest.raises(TypeError, match="left out of this policy"):
        client_headers(Policy(user=None), user_id="u")


def test_the_fixture_overrides_for_a_test(tmp_path: Path) -> None:
    """
    The pytest fixture forces IDs until its test ends.
    """
    tmp_path.joinpath("conftest.py").write_text("from idlanyard.testing import session_ids\n")
    tmp_path.joinpath("test_it.py").write_text(
        "from idlanyard import get_user_id\n"
        "def test_one(session_ids):\n"
        "    assert session_ids(user_id='alice').user_id == get_user_id() == 'alice'\n"
        "def test_two():\n"
        "    assert get_user_id() is None\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "2 passed" in result.stdout, result.stdout


def test_the_module_has_no_other_names() -> None:
    """
    A name that is not there raises as usual.
    """
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        testing.missing  # noqa: B018


def plain_request() -> str | None:
    """
    Return the user of a request that claims none.
    """
    return served()[2].get("user_id")


@pytest.mark.parametrize("first_out", ["first", "second"])
def test_overlapping_overrides_end_each_by_itself(first_out: str) -> None:
    """
    S30: each block's IDs go with the block, in either order of exit, here and for requests.
    """
    blocks = {
        "first": override(user_id="a", tenant_id="t"),
        "second": override(user_id="b", session_id=UNSET),
    }
    blocks["first"].__enter__()
    blocks["second"].__enter__()
    assert (get_user_id(), plain_request()) == ("b", "b")
    blocks.pop(first_out).__exit__()
    ((left, block),) = blocks.items()
    found = {"first": ("a", "t"), "second": ("b", None)}[left]
    assert (get_session_context().user_id, get_session_context().tenant_id) == found
    assert plain_request() == found[0]
    block.__exit__()
    assert get_session_context().is_empty()
    assert get_binding() is UNBOUND
    assert plain_request() is None


def test_overrides_of_one_value_end_each_by_itself() -> None:
    """
    S30: two equal blocks are two: the one that ends leaves the other where it stands.
    """
    with override(user_id="a"):
        with override(user_id="b"):
            with override(user_id="a"):
                assert (get_user_id(), plain_request()) == ("a", "a")
            assert (get_user_id(), plain_request()) == ("b", "b")
        assert (get_user_id(), plain_request()) == ("a", "a")
    assert (get_user_id(), plain_request()) == (None, None)


def test_overrides_of_several_tasks_and_threads_overlap() -> None:
    """
    S30: blocks that overlap in tasks and threads leave nothing behind, in a task that lives on too.
    """

    async def test(user: str, entered: asyncio.Event, ready: asyncio.Event) -> str | None:
        with override(user_id=user):
            entered.set()
            await ready.wait()
        return get_user_id()

    async def outliving(ended: asyncio.Event) -> str | None:
        await ended.wait()
        with session_context("s"):
            return get_user_id()

    async def main() -> None:
        one, two, go_one, go_two, ended = (asyncio.Event() for _ in range(5))
        first = asyncio.create_task(test("first", one, go_one))
        await one.wait()
        second = asyncio.create_task(test("second", two, go_two))
        await two.wait()
        assert plain_request() == "second"
        go_one.set()
        assert await first is None
        assert plain_request() == "second"
        go_two.set()
        assert await second is None
        assert plain_request() is None
        with override(user_id="third"):
            task = asyncio.create_task(outliving(ended))
            assert await asyncio.to_thread(plain_request) == "third"
        ended.set()
        assert await task is None

    asyncio.run(main())


def test_an_override_left_in_another_context_is_over() -> None:
    """
    S30: a fixture may leave its block in another task than it entered it in.
    """
    block = override(user_id="a")
    inside = contextvars.copy_context()
    inside.run(block.__enter__)
    beside = inside.copy()
    assert beside.run(get_user_id) == "a"
    block.__exit__()
    assert (inside.run(get_user_id), beside.run(get_user_id)) == (None, None)
    assert beside.run(get_session_context).is_empty()


def test_an_override_is_entered_once_at_a_time() -> None:
    """
    S30: an instance that is open cannot be entered again; after its end it can.
    """
    block = override(user_id="a")
    with block:
        with pytest.raises(RuntimeError, match="write override"):
            block.__enter__()
        assert get_user_id() == "a"
    with block, override(user_id=UNSET):
        layer = get_binding()
        assert isinstance(layer, Overlay)
        assert len(layer.delta) == 1
    assert len(layer.delta) == 0
    with block, override(), session_context(user_id=None, tenant_id="t"):
        assert get_session_context().as_dict() == {"user_id": "a", "tenant_id": "t"}
    block.__exit__()
    assert get_user_id() is None
