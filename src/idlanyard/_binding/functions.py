"""
Functions of any kind (plain, coroutine, generator): wrapped in a block, or passed IDs by ``bind``.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from types import SimpleNamespace
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

from idlanyard import _failures
from idlanyard._binding.reading import get_id
from idlanyard._binding.state import Binding, bound, get_binding, reset_binding


def mark_before_3_12(fn: Any) -> None:
    """
    Mark a coroutine function before Python 3.12, whose mark has no public name.
    """
    from asyncio import coroutines

    fn._is_coroutine = getattr(coroutines, "_is_coroutine", None)


@functools.cache
def find_coroutine_mark() -> dict[str, Any]:
    """
    Return the attribute by which this Python knows a marked coroutine function.
    """
    marked = SimpleNamespace()
    getattr(inspect, "markcoroutinefunction", mark_before_3_12)(marked)
    return vars(marked)


def mark_coroutine_function(fn: object) -> None:
    """
    Mark a plain callable whose calls return an awaitable, for code that asks before it calls.
    """
    vars(fn).update(find_coroutine_mark())


def is_coroutine_function(fn: Any) -> bool:
    """
    Return whether calls of *fn* return an awaitable: by ``inspect``, or by a mark.
    """
    return inspect.iscoroutinefunction(fn) or (
        find_coroutine_mark().items() <= getattr(fn, "__dict__", {}).items()
    )


# Python 3.14 evaluates annotations when they are read; one that cannot be evaluated, such as a
# name under TYPE_CHECKING, is then read as a forward reference or as text.
_FORMATS: Final = tuple(getattr(sys.modules.get("annotationlib"), "Format", ()))
_WAYS: Final[tuple[dict[str, Any], ...]] = (
    {"eval_str": True},
    *({"annotation_format": form} for form in _FORMATS),
    {},
)


def resolve_signature(fn: Callable[..., Any]) -> inspect.Signature:
    """
    Return the signature of *fn*, with its annotations resolved if possible.

    A framework would look up the names of unresolved annotations in our module.

    Raises:
        ValueError: a built-in function has no signature.
        Exception: the signature cannot be read for another reason.
    """
    for way in _WAYS[:-1]:
        try:
            return inspect.signature(fn, **way)
        except Exception:  # noqa: S112 - resolving runs annotations, which may raise anything
            continue
    return inspect.signature(fn, **_WAYS[-1])


def _is_kind(kind: Callable[[Any], bool], fn: Any) -> bool:
    """
    Return whether *fn*, or the ``__call__`` of an object, is of this kind.
    """
    return kind(fn) or (not isinstance(fn, type) and kind(fn.__call__))


def is_wrappable(fn: object) -> bool:
    """
    Return whether *fn* can be wrapped by ``wrap_function``.

    The objects that ``@property``, ``@classmethod`` and ``@staticmethod`` make
    cannot: the wrapper belongs below them.
    """
    return callable(fn) and not isinstance(fn, staticmethod)


def is_awaited(fn: Any) -> bool:
    """
    Return whether calls of *fn* are to be awaited, as far as is known without a call.

    Calls of a coroutine function are, of an object whose ``__call__`` is one,
    and of a ``functools.partial`` of either.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    return _is_kind(is_coroutine_function, fn)


Enter: TypeAlias = Callable[[], AbstractContextManager[Any]]


class SteppedBinding:
    """
    A binding that is current during the steps of a generator and never between them.

    IDs that a step binds are still bound in the next one. A generator that is
    closed in another Context leaves the binding there as it was.

    Attributes:
        binding: the binding of the next step.
    """

    __slots__ = ("_token", "binding")

    _token: Token[Binding]

    def __init__(self, binding: Binding) -> None:
        self.binding = binding

    def __enter__(self) -> None:
        self._token = bound.set(self.binding)

    def __exit__(self, *_: object) -> None:
        left = get_binding()
        if reset_binding(self._token):
            self.binding = left


def wrap_function(
    fn: Callable[..., Any],
    *,
    enter: Enter,
    make_stepped: Enter,
    call: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """
    Return a function that calls *fn* inside a block, which is made for each call.

    The result is of the same kind as *fn*: plain, coroutine function,
    generator function or async generator function, as ``inspect`` reports it.

    Args:
        fn: the function, whose kind, name and docstring the result has.
        enter: makes the block around a call that is one step.
        make_stepped: makes the block around each step of a generator, once per call.
        call: the function that is called in place of *fn*.
    """
    call = call or fn
    if _is_kind(inspect.isasyncgenfunction, fn):
        wrapper = _wrap_async_generator(call, make_stepped)
    elif _is_kind(inspect.isgeneratorfunction, fn):
        wrapper = _wrap_generator(call, make_stepped)
    elif _is_kind(is_coroutine_function, fn):
        wrapper = _wrap_coroutine(call, enter)
    else:
        wrapper = _wrap_plain(call, enter)
    return functools.update_wrapper(wrapper, fn)


def _wrap_plain(call: Callable[..., Any], enter: Enter) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with enter():
            return call(*args, **kwargs)

    return called


def _wrap_coroutine(call: Callable[..., Any], enter: Enter) -> Callable[..., Any]:
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with enter():
            return await call(*args, **kwargs)

    return awaited


def _wrap_generator(call: Callable[..., Any], make_stepped: Enter) -> Callable[..., Any]:
    def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        stepped = make_stepped()
        inner = call(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                with stepped:
                    item = step()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield item
            except BaseException as error:
                step = functools.partial(inner.throw, error)
            else:
                step = functools.partial(inner.send, sent)

    return steps


def _start_unhooked(inner: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """
    Return the first step of the inner generator, without telling the event loop about it.

    The loop knows the outer generator, which closes the inner one with the
    IDs bound. Closed by the loop as well, the inner one would be closed
    twice, and without the IDs.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_leave_to_outer)
    try:
        return anext(inner)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_to_outer(inner: AsyncGenerator[Any, Any]) -> None:
    pass


def _wrap_async_generator(call: Callable[..., Any], make_stepped: Enter) -> Callable[..., Any]:
    async def steps(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        stepped = make_stepped()
        inner = call(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(_start_unhooked, inner)
        while True:
            try:
                with stepped:
                    item = await step()
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except BaseException as error:
                step = functools.partial(inner.athrow, error)
            else:
                step = functools.partial(inner.asend, sent)

    return steps


P = ParamSpec("P")
R = TypeVar("R")


def bind(fn: Callable[..., R]) -> Callable[..., R]:
    """
    Pass the current IDs to parameters of their names that the caller leaves out.

    A function keeps its kind (plain, async, generator); methods, classes and
    ``functools.partial`` work too. An argument that the caller gives, even
    ``None``, wins. An absent ID leaves the parameter's default, or passes
    ``None`` if the parameter has none. The visible signature loses these
    parameters, so that a framework that reads its inputs from the signature
    never takes them from a client.

    Args:
        fn: a function with parameters such as ``session_id``, ``user_id``,
            ``tenant_id``, ``customer_id`` or another ID of the policy that is
            current when ``bind`` is called.

    Raises:
        TypeError: *fn* cannot be called, or its parameters cannot be read.
    """
    kind = type(fn).__name__
    if not is_wrappable(fn):
        where = (
            "below @classmethod and @staticmethod"
            if isinstance(fn, classmethod | staticmethod)
            else "above a function whose parameters are called as the IDs are"
        )
        raise TypeError(f"bind takes a function, not {kind}: write @bind {where}")
    signature = _read_signature(fn)
    if signature is None:
        return fn
    known = {*get_binding().policy.names, "customer_id"}
    filled = [
        p
        for p in signature.parameters.values()
        if p.name in known and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    _warn_of_similar_names(fn, signature, known)
    if not filled:
        return fn

    call = _fill_parameters(fn, signature, filled)
    wrapper = wrap_function(fn, enter=nullcontext, make_stepped=nullcontext, call=call)
    rest = [p for p in signature.parameters.values() if p not in filled]
    wrapper.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return wrapper


def _warn_of_similar_names(
    fn: Callable[..., Any], signature: inspect.Signature, known: set[str]
) -> None:
    """
    Warn of a parameter whose name is close to that of an ID, as it is left to the caller.
    """
    for name in signature.parameters.keys() - known:
        meant = "" if name.endswith("s") else _find_similar_name(name, known)
        if meant:
            place = f"{fn.__module__}.{getattr(fn, '__qualname__', type(fn).__name__)}"
            _failures.warn_once(
                f"parameter {name} of {place}",
                "idlanyard: bind leaves the parameter %s of %s to the caller: call it %s if it is "
                "to be that ID",
                name,
                place,
                meant,
            )


def _find_similar_name(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    plain = {each.replace("_", ""): each for each in known}
    close = get_close_matches(name.lower().replace("_", ""), plain, n=1, cutoff=0.88)
    return plain[close[0]] if close else ""


def _fill_parameters(
    fn: Callable[..., Any], signature: inspect.Signature, filled: list[inspect.Parameter]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs)
        for parameter in filled:
            if parameter.name not in given.arguments:
                value = _find_declared_id(parameter.name)
                if value is not None or parameter.default is parameter.empty:
                    given.arguments[parameter.name] = value
        for parameter in signature.parameters.values():
            # An argument before a filled one can be left out only by passing its default.
            if (
                parameter.kind is parameter.POSITIONAL_ONLY
                and parameter.default is not parameter.empty
            ):
                given.arguments.setdefault(parameter.name, parameter.default)
        # BoundArguments reads positional arguments in the signature's order.
        given.arguments = {
            name: given.arguments[name] for name in signature.parameters if name in given.arguments
        }
        return fn(*given.args, **given.kwargs)

    return call


def _find_declared_id(name: str) -> str | None:
    """
    Return the current ID, ``None`` also if the policy of this request does not declare it.
    """
    declared = name == "customer_id" or name in get_binding().policy.index
    return get_id(name) if declared else None


def _read_signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """
    Return the signature of *fn*, or ``None`` for a built-in of Python, which takes no ID of ours.

    Raises:
        TypeError: the parameters cannot be read, so that no client could be kept from them.
    """
    try:
        return resolve_signature(fn)
    except Exception as error:
        if isinstance(error, ValueError) and _is_builtin(fn):
            return None
        name = getattr(fn, "__qualname__", type(fn).__name__)
        raise TypeError(
            f"bind cannot read the parameters of {name}: write a function that calls it, and "
            f"@bind above that"
        ) from error


def _is_builtin(fn: Callable[..., Any]) -> bool:
    """
    Return whether *fn* is a built-in function, or a class without constructors of its own.
    """
    if not isinstance(fn, type):
        return getattr(fn, "__module__", None) == "builtins"
    makers = ("__new__", "__init__")
    owners = [next(c for c in fn.__mro__ if name in vars(c)) for name in makers]
    return type(fn) is type and all(owner.__module__ == "builtins" for owner in owners)
