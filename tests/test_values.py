"""
A value may be a function, and what cannot be one says what to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from idlanyard import (
    UNSET,
    ContextThreadPoolExecutor,
    carry,
    get_session_context,
    get_session_id,
    get_user_id,
    identify,
    new_session_id,
    session_context,
    set_session_context,
    set_session_id,
)
from idlanyard.testing import client_headers, override


def alone(fn: Callable[[], Any]) -> Any:
    """
    Run *fn* in a Context in which nothing is bound.
    """
    return contextvars.Context().run(fn)


OVERRIDES = contextlib.ExitStack()


def _override(fn: Any) -> None:
    OVERRIDES.enter_context(override(user_id=fn))


def test_a_decorator_mints_per_call() -> None:
    """
    @session_context(new_session_id) gives each call a session of its own, on every kind.
    """

    @session_context(new_session_id)
    def plain() -> str | None:
        return get_session_id()

    @session_context(session_id=new_session_id)
    async def awaited() -> str | None:
        await asyncio.sleep(0)
        return get_session_id()

    @session_context(new_session_id)
    def stepped() -> Iterator[str | None]:
        yield get_session_id()
        yield get_session_id()

    @session_context(new_session_id)
    async def streamed() -> AsyncIterator[str | None]:
        yield get_session_id()
        yield get_session_id()

    async def drained() -> list[str | None]:
        return [one async for one in streamed()]

    found: list[Any] = [plain(), plain(), asyncio.run(awaited()), asyncio.run(awaited())]
    for steps in (list(stepped()), list(stepped()), asyncio.run(drained()), asyncio.run(drained())):
        assert len({*steps}) == 1
        found.append(steps[0])
    assert len({*found}) == len(found) == 8
    assert all(len(one) == 32 for one in found)
    assert get_session_id() is None


def test_a_block_calls_its_functions_at_each_entry() -> None:
    """
    R2: each entry of one instance calls the function anew, and sees what is bound outside.
    """
    users = iter("abc")
    block = session_context("s", user_id=lambda: next(users))
    for user in "ab":
        with block as bound:
            assert (bound.user_id, get_user_id()) == (user, user)

    async def run() -> str | None:
        async with block:
            return get_user_id()

    assert asyncio.run(run()) == "c"
    with session_context("outer"), session_context(user_id=lambda: get_session_id()) as inner:
        assert inner.user_id == "outer"


@pytest.mark.parametrize(
    ("value", "user"),
    [(lambda: None, "u"), (lambda: "", "u"), (lambda: UNSET, None), (lambda: "v", "v")],
    ids=["None", "empty", "UNSET", "an ID"],
)
@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda fn: session_context(user_id=fn).__enter__(), id="session_context"),
        pytest.param(lambda fn: set_session_context(user_id=fn), id="set_session_context"),
        pytest.param(lambda fn: identify(user_id=fn), id="identify"),
        pytest.param(_override, id="override"),
    ],
)
def test_every_verb_takes_what_a_function_returns(
    verb: Callable[[Any], object], value: Callable[[], Any], user: str | None
) -> None:
    """
    R2: in every verb the function's value counts as if it had been written: None is not given.
    """

    def check() -> None:
        set_session_context(user_id="u")
        with OVERRIDES:
            verb(value)
            assert get_user_id() == user

    alone(check)


def test_the_other_verbs_call_functions_too() -> None:
    """
    R2: set_session_id and client_headers take a function as well.
    """

    def check() -> None:
        set_session_id(lambda: "s")
        assert get_session_id() == "s"
        assert client_headers(user_id=lambda: "u", session_id=lambda: None) == {"X-User-ID": "u"}

    alone(check)


def test_a_function_that_raises_leaves_nothing_bound() -> None:
    """
    R3: an error in the function is the caller's, unchanged, and the block can be entered again.
    """
    answers: list[Any] = [KeyError("mine"), TypeError("its own"), "u"]

    def user() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    block = session_context("s", user_id=user)
    for kind, said in ((KeyError, "mine"), (TypeError, "^its own$")):
        with pytest.raises(kind, match=said):
            block.__enter__()
        assert get_session_context().is_empty()
    with block as bound:
        assert bound.user_id == "u"


async def _coroutine() -> str:
    raise AssertionError("never awaited")


class _Service:
    pass


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        pytest.param(lambda x: x, "a function that needs arguments", id="arguments"),
        pytest.param(_coroutine, "an async function", id="async"),
        pytest.param(_Service, "the class _Service", id="class"),
        pytest.param(test_a_decorator_mints_per_call.__class__, "the class function", id="type"),
    ],
)
@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda fn: session_context(user_id=fn), id="session_context"),
        pytest.param(lambda fn: identify(user_id=fn), id="identify"),
    ],
)
def test_a_function_that_gives_no_id_is_refused(
    verb: Callable[[Any], object], value: Any, sentence: str
) -> None:
    """
    R2: a function that can give no ID is refused where it is given, with what to write.
    """
    with pytest.raises(TypeError) as caught:
        verb(value)
    said = str(caught.value)
    assert sentence in said
    assert "write user_id=lambda: ..., and as a decorator @session_context(user_id=...)" in said


@pytest.mark.parametrize(
    ("fn", "kind"),
    [(uuid.uuid4, "UUID"), (lambda: 42, "int"), (lambda: _coroutine(), "coroutine")],
    ids=["UUID", "int", "coroutine"],
)
def test_a_function_that_returns_no_text_is_refused(fn: Any, kind: str) -> None:
    """
    R7: what a function returns is a str, and what the message says to write is accepted.
    """
    block = session_context(user_id=fn)
    with pytest.raises(TypeError, match=f"returned {kind}, not str: write user_id=lambda: str"):
        block.__enter__()
    with session_context(user_id=lambda: str(uuid.uuid4())) as bound:
        assert bound.user_id is not None


def test_a_function_without_a_signature_may_give_an_id() -> None:
    """
    R2: a built-in that tells no signature is called, and its own error comes out.
    """
    with session_context(user_id=functools.partial(min, "b", "a")) as bound:
        assert bound.user_id == "a"
    unsigned: Any = min
    with pytest.raises(TypeError, match="min expected"):
        session_context(user_id=unsigned).__enter__()


class _Plain:
    @session_context(user_id="u")
    def method(self) -> str | None:
        return get_user_id()

    @staticmethod
    @session_context(user_id="u")
    def static() -> str | None:
        return get_user_id()

    @classmethod
    @session_context(user_id="u")
    def of_class(cls) -> str | None:
        return get_user_id()

    @property
    @session_context(user_id="u")
    def prop(self) -> str | None:
        return get_user_id()


def _with_arguments(question: str) -> str:
    return question


_OF_CLASS: Any = _with_arguments


def _generator() -> Iterator[str]:
    yield ""


async def _async_generator() -> AsyncIterator[str]:
    yield ""


@pytest.mark.parametrize(
    "decorated",
    [
        _with_arguments,
        _coroutine,
        _generator,
        _async_generator,
        _Service,
        staticmethod(new_session_id),
        classmethod(_OF_CLASS),
        property(_OF_CLASS),
    ],
    ids=lambda fn: type(fn).__name__ + getattr(fn, "__name__", ""),
)
def test_a_bare_decorator_is_refused(decorated: Any) -> None:
    """
    @session_context without parentheses is a TypeError that says what to write.
    """
    with pytest.raises(TypeError, match=r"@session_context\(session_id=\.\.\.\)"):
        session_context(decorated)


def test_a_bare_decorator_on_a_function_without_arguments_is_refused() -> None:
    """
    Such a function might give an ID; the TypeError comes with its first call.
    """
    job: Any = session_context(new_session_id)
    for arguments in ((), ("question",), (1, 2)):
        with pytest.raises(TypeError, match=r"write @session_context\(session_id=\.\.\.\)"):
            job(*arguments)


@pytest.mark.parametrize(
    "decorated",
    [
        _Service,
        staticmethod(new_session_id),
        classmethod(_OF_CLASS),
        property(_OF_CLASS),
        None,
        "s",
    ],
    ids=lambda fn: type(fn).__name__ + getattr(fn, "__name__", ""),
)
def test_only_functions_and_methods_are_decorated(decorated: Any) -> None:
    """
    R3: a class, or what a method has been wrapped in, is refused with the order that works.
    """
    with pytest.raises(TypeError, match="below @staticmethod, @classmethod and @property"):
        session_context(user_id="u")(decorated)
    made = _Plain()
    assert (made.method(), made.static(), made.of_class(), made.prop) == ("u", "u", "u", "u")


@pytest.mark.parametrize("given", ["nothing", "coroutine", "generator", "property", "classmethod"])
def test_carry_takes_a_function(given: str) -> None:
    """
    R13: carry(work()) is refused with what to write, and that is accepted; a pool's submit too.
    """

    def work() -> str | None:
        return get_session_id()

    wrong: Any = {
        "nothing": lambda: None,
        "coroutine": _coroutine,
        "generator": _generator,
        "property": lambda: property(_OF_CLASS),
        "classmethod": lambda: classmethod(_OF_CLASS),
    }[given]
    remedy = f"below @{given}" if given in ("property", "classmethod") else r"\(work\), and not"
    with pytest.raises(TypeError, match=f"carry takes a function, not .*{remedy}"):
        carry(wrong())
    with ContextThreadPoolExecutor(1) as pool, session_context("s"):
        with pytest.raises(TypeError, match=f"submit takes a function, not .*{remedy}"):
            pool.submit(wrong())
        assert pool.submit(work).result() == "s"
    with ThreadPoolExecutor(1) as plain, session_context("s"):
        assert plain.submit(carry(work)).result() == "s"
