"""
IDs as arguments.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from idlanyard import (
    Policy,
    bind,
    get_session_context,
    request_spec,
    session_context,
    use_policy,
)
from idlanyard.asgi import SessionContextMiddleware


def plain(x: int, session_id: str | None = None) -> tuple[int, str | None]:
    """
    Take a session if there is one.
    """
    return x, session_id


def needy(session_id: str) -> str:
    """
    Take a session and have no default.
    """
    return session_id


def local(x: int) -> int:
    """
    Have a variable of that name and no parameter.
    """
    session_id = x
    return session_id + 0


def only_positional(session_id: str | None, /, x: int = 0) -> tuple[str | None, int]:
    """
    Take the session by position.
    """
    return session_id, x


def defaulted(x: int = 1, session_id: str | None = None, /) -> tuple[int, str | None]:
    """
    Take the session by position, behind something that has a default.
    """
    return x, session_id


def late(x: int = 1, session_id: str | None = None, y: int = 5, /) -> tuple[int, str | None, int]:
    """
    Take the session by position after something with a default.
    """
    return x, session_id, y


def middle(x: int, session_id: str, *rest: int, **more: Any) -> Any:
    """
    Take the session between others.
    """
    return x, session_id, rest, more


class Made:
    """
    Take a session when made.
    """

    def __init__(self, x: int, customer_id: str | None = "none") -> None:
        self.given = x, customer_id


class Awaited:
    """
    An object whose calls are awaited; its making is not.
    """

    def __init__(self, user_id: str | None = None) -> None:
        self.user_id = user_id

    async def __call__(self, session_id: str | None = None) -> str | None:
        await asyncio.sleep(0)
        return session_id


class Called:
    """
    An object that can be called.
    """

    def __call__(self, user_id: str | None = None) -> str | None:
        return user_id


@pytest.mark.parametrize(
    ("call", "result"),
    [
        pytest.param(lambda: bind(plain)(1), (1, "s"), id="left out"),
        pytest.param(lambda: bind(plain)(1, session_id="own"), (1, "own"), id="given"),
        pytest.param(lambda: bind(plain)(1, session_id=None), (1, None), id="given as None"),
        pytest.param(lambda: bind(plain)(1, "own"), (1, "own"), id="given by position"),
        pytest.param(lambda: bind(needy)(), "s", id="no default"),
        pytest.param(lambda: bind(local)(7), 7, id="a local variable of that name"),
        pytest.param(lambda: bind(only_positional)(), ("s", 0), id="positional only"),
        pytest.param(lambda: bind(only_positional)(x=3), ("s", 3), id="positional only, x given"),
        pytest.param(lambda: bind(defaulted)(), (1, "s"), id="behind a default"),
        pytest.param(lambda: bind(late)(2), (2, "s", 5), id="positional only, one given"),
        pytest.param(lambda: bind(late)(2, None, 3), (2, None, 3), id="positional only, all given"),
        pytest.param(
            lambda: bind(middle)(1, "own", 2), (1, "own", (2,), {}), id="more by position"
        ),
        pytest.param(lambda: bind(middle)(1, a=2), (1, "s", (), {"a": 2}), id="keyword arguments"),
        pytest.param(lambda: bind(Made)(1).given, (1, "t"), id="a class"),
        pytest.param(lambda: bind(functools.partial(plain, 2))(), (2, "s"), id="a partial"),
        pytest.param(lambda: bind(Called())(), "u", id="a callable object"),
        pytest.param(lambda: bind(lambda **kw: kw)(a=1), {"a": 1}, id="only **kwargs"),
        pytest.param(lambda: bind(dict)(a=1), {"a": 1}, id="no signature"),
        pytest.param(lambda: bind(min)(2, 1), 1, id="a built-in function"),
        pytest.param(lambda: bind(type("Own", (dict,), {}))(a=1), {"a": 1}, id="of a built-in"),
    ],
)
def test_parameters_left_out_are_filled(call: Any, result: object) -> None:
    """
    An argument that the caller leaves out is filled, and one that is given wins.
    """
    with session_context("s", user_id="u", tenant_id="t"):
        assert call() == result


def test_an_absent_id_leaves_the_default() -> None:
    """
    With nothing bound the default stays, and None is passed where there is none.
    """
    assert bind(Made)(1).given == (1, "none")
    assert bind(needy)() is None
    with pytest.raises(TypeError):
        bind(plain)()


def test_every_kind_stays_what_it_is() -> None:
    """
    Sync stays sync, async stays async, and generators stay generators.
    """

    @bind
    async def coroutine(session_id: str | None = None) -> str | None:
        return session_id

    @bind
    def generator(session_id: str | None = None) -> Iterator[str | None]:
        yield session_id

    @bind
    async def async_generator(session_id: str | None = None) -> AsyncIterator[str | None]:
        yield session_id

    async def run() -> list[str | None]:
        return [await coroutine()] + [item async for item in async_generator()]

    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert inspect.iscoroutinefunction(bind(functools.partial(coroutine)))
    assert inspect.iscoroutinefunction(bind(Awaited()))
    assert not inspect.iscoroutinefunction(bind(Awaited))
    with session_context("s", "u"):
        assert bind(Awaited)().user_id == "u"
        assert asyncio.run(bind(Awaited())()) == "s"
        assert (list(generator()), asyncio.run(run())) == (["s"], ["s", "s"])


def test_methods_are_filled_too() -> None:
    """
    Methods, class methods and static methods work, with bind next to the function.
    """

    class Service:
        @bind
        def method(self, session_id: str | None = None) -> str | None:
            return session_id

        @classmethod
        @bind
        def of_class(cls, session_id: str | None = None) -> str | None:
            return session_id

        @staticmethod
        @bind
        def static(session_id: str | None = None) -> str | None:
            return session_id

    with session_context("s"):
        assert [Service().method(), Service.of_class(), Service.static()] == ["s"] * 3


@pytest.mark.parametrize("above", [classmethod, staticmethod])
def test_bind_stands_below_what_makes_a_method(above: Any) -> None:
    """
    Above classmethod or staticmethod, bind says where it belongs instead of misfilling.
    """
    with pytest.raises(TypeError, match="write @bind below @classmethod and @staticmethod"):
        bind(above(plain))


def test_methods_on_an_instance_are_filled_too() -> None:
    """
    A bound method, and the methods that bind has decorated, are filled on an instance.
    """

    class Service:
        def method(self, session_id: str | None = None) -> tuple[str, str | None]:
            return type(self).__name__, session_id

        @classmethod
        @bind
        def of_class(cls, session_id: str | None = None) -> tuple[str, str | None]:
            return cls.__name__, session_id

        @staticmethod
        @bind
        def static(session_id: str | None = None) -> str | None:
            return session_id

    with session_context("s"):
        assert bind(Service().method)() == ("Service", "s")
        assert (Service().of_class(), Service().static()) == (("Service", "s"), "s")


def test_an_id_that_the_request_does_not_declare_is_left_out() -> None:
    """
    R10, R14: where another policy is in force than the one bind saw, the default stays.
    """
    undo = use_policy(Policy(extra=[request_spec()]))
    try:

        @bind
        def work(request_id: str | None = "none", user_id: str | None = None) -> Any:
            return request_id, user_id

        with session_context(request_id="r"):
            assert work() == ("r", None)
    finally:
        undo()
    with session_context(user_id="u"):
        assert work() == ("none", "u")


def test_the_explicit_argument_wins_over_bound_over_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    R5: per ID the order is the explicit argument, what is bound here, the environment.
    """
    monkeypatch.setenv("IDLANYARD_SESSION_ID", "environment")
    work = bind(needy)
    assert work() == "environment"
    with session_context("bound"):
        assert (work(), work(session_id="explicit")) == ("bound", "explicit")


def test_the_visible_signature_loses_what_is_filled() -> None:
    """
    A framework that reads the signature never asks a client for an ID.
    """
    assert str(inspect.signature(bind(plain))) == "(x: int) -> tuple[int, str | None]"
    assert inspect.signature(bind(local)) == inspect.signature(local)


def unresolved(x: Missing, session_id: str = "") -> str:  # type: ignore[name-defined]  # noqa: F821
    """
    Have an annotation that nobody can resolve.
    """
    return session_id


def test_annotations_that_cannot_be_resolved_stay() -> None:
    """
    A name that is only known to a type checker does not stop bind.
    """
    with session_context("s"):
        assert bind(unresolved)(1) == "s"


LATER = "Later" if sys.version_info >= (3, 14) else "'Later'"
SOURCES = {
    "lazy": f"def work(x: {LATER}, session_id: str | None = None): return x, session_id",
    "text": "def work(x: 'Later', session_id: 'str | None' = None): return x, session_id",
    "future": "from __future__ import annotations\n"
    "def work(x: Later, session_id: str | None = None) -> Missing: return x, session_id",
    "returned": f"def work(x, session_id=None) -> {LATER}: return x, session_id",
    "type checking": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING: from elsewhere import Later\n"
    f"def work(x: {LATER}, session_id: str | None = None): return x, session_id",
    "raising": "def work(x: '1 / 0', session_id: str | None = None): return x, session_id",
    "attribute": "import enum\n"
    "def work(x: 'enum.Missing', session_id: str | None = None): return x, session_id",
    "wrapped": "import functools\n"
    f"def inner(x: {LATER}, session_id: str | None = None): return x, session_id\n"
    "@functools.wraps(inner)\n"
    "def work(*args, **kwargs): return inner(*args, **kwargs)",
    "partial": "import functools\n"
    f"def inner(y, x: {LATER}, session_id: str | None = None): return x, session_id\n"
    "work = functools.partial(inner, 'y')",
    "class": "class work(tuple):\n"
    f"    def __new__(cls, x: {LATER}, session_id: str | None = None):\n"
    "        return super().__new__(cls, (x, session_id))",
    "object": "class Work:\n"
    f"    def __call__(self, x: {LATER}, session_id: str | None = None): return x, session_id\n"
    "work = Work()",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_annotations_of_any_kind_leave_bind_in_force(source: str) -> None:
    """
    With any annotations the ID is filled, and the visible signature lacks it.
    """
    names: dict[str, Any] = {"__name__": "theirs"}
    exec(compile(source, "theirs", "exec", dont_inherit=True), names)
    work = bind(names["work"])
    with session_context("s"):
        assert work(1) == (1, "s")
        assert work(1, session_id=None) == (1, None)
    visible = getattr(work, "__signature__")  # noqa: B009 - put there at run time
    assert [*visible.parameters] == ["x"]


def test_what_can_be_resolved_is() -> None:
    """
    Resolved annotations are what a framework reads, not our module's names.
    """
    assert inspect.signature(bind(plain)).parameters["x"].annotation is int


class Unreadable:
    """
    Calls whose parameters cannot be read.
    """

    __signature__ = "no signature"

    def __call__(self, session_id: str | None = None) -> str | None:
        return session_id


class Loop:
    """
    A function that is wrapped by itself.
    """

    __wrapped__: Any

    def __init__(self) -> None:
        self.__wrapped__ = self

    def __call__(self, session_id: str | None = None) -> str | None:
        return session_id


class Meta(type):
    """
    Makes classes in a way of its own.
    """

    __signature__ = "no signature"


@pytest.mark.parametrize(
    "fn",
    [
        pytest.param(Unreadable(), id="object"),
        pytest.param(Loop(), id="loop"),
        pytest.param(Meta("Made", (dict,), {}), id="metaclass"),
        pytest.param({}.update, id="a method without a signature"),
        pytest.param(type("Ours", (sqlite3.Connection,), {}), id="a type of another module"),
        pytest.param(type("Odd", (dict,), {"__init__": range}), id="an odd maker"),
    ],
)
def test_what_cannot_be_read_is_refused(fn: Any) -> None:
    """
    Bind protects or raises; a function comes back as it was only without IDs.
    """
    with pytest.raises(TypeError, match="write a function that calls it, and @bind above that"):
        bind(fn)

    @bind
    def calling(session_id: str | None = None) -> str | None:
        return session_id

    with session_context("s"):
        assert calling() == "s"


def test_fastapi_never_lets_a_client_name_an_id() -> None:
    """
    Under FastAPI a query parameter of an ID's name is ignored.
    """
    api = FastAPI()

    @api.get("/")
    @bind
    def endpoint(x: int, session_id: str | None = None, user_id: str | None = None) -> Any:
        return {
            "x": x,
            "session": session_id,
            "user": user_id,
            "all": get_session_context().as_dict(),
        }

    client = TestClient(SessionContextMiddleware(api))
    answer = client.get("/?x=1&session_id=evil&user_id=admin", headers={"X-Session-ID": "s"})
    assert answer.json() == {"x": 1, "session": "s", "user": None, "all": {"session_id": "s"}}
    names = [
        p["name"] for p in client.get("/openapi.json").json()["paths"]["/"]["get"]["parameters"]
    ]
    assert names == ["x"]


class Needs:
    """
    A dependency that is a class.
    """

    def __init__(self, page: int, tenant_id: str | None = None) -> None:
        self.given = page, tenant_id


class Asks:
    """
    A dependency that is an object whose calls are awaited.
    """

    async def __call__(self, size: int, session_id: str | None = None) -> Any:
        return size, session_id


def test_fastapi_dependencies_never_let_a_client_name_an_id() -> None:
    """
    Functions, classes and objects as dependencies take no ID from a client.
    """
    api = FastAPI()

    @bind
    async def needs_user(x: int, user_id: str | None = None) -> Any:
        return x, user_id

    @api.get("/")
    @bind
    async def endpoint(
        found: Any = Depends(needs_user),
        made: Any = Depends(bind(Needs)),
        asked: Any = Depends(bind(Asks())),
        customer_id: str | None = None,
    ) -> Any:
        return [found, made.given, asked, customer_id]

    client = TestClient(SessionContextMiddleware(api))
    evil = "user_id=evil&tenant_id=evil&customer_id=evil&session_id=evil"
    answer = client.get(f"/?x=1&page=2&size=3&{evil}", headers={"X-Session-ID": "s"})
    assert answer.json() == [[1, None], [2, None], [3, "s"], None]
    described = client.get("/openapi.json").json()["paths"]["/"]["get"]
    assert {p["name"] for p in described["parameters"]} == {"x", "page", "size"}
    assert "requestBody" not in described


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("sesion_id", "session_id", id="a letter"),
        pytest.param("userid", "user_id", id="no underscore"),
        pytest.param("tenantId", "tenant_id", id="camel case"),
        pytest.param("user", "", id="another thing"),
        pytest.param("session_ids", "", id="several"),
        pytest.param("order_id", "", id="another ID"),
        pytest.param("session_id", "", id="as it is called"),
    ],
)
def test_a_misspelt_parameter_is_said(
    written: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    R6: a parameter that is nearly an ID's is left to the caller, who may be a client: a line
    says so once, and how it is called.
    """
    names: dict[str, Any] = {"__name__": "shop"}
    exec(f"def order({written}=None, limit=10): return {written}", names)
    assert [bind(names["order"])(), bind(names["order"])()] == [None, None]
    message = (
        f"idlanyard: bind leaves the parameter {written} of shop.order to the caller: call it "
        f"{meant} if it is to be that ID"
    )
    assert caplog.messages == ([message] if meant else [])
