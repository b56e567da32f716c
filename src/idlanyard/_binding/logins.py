"""
A login names its user; one whose ID is refused leaves nobody's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from idlanyard import _failures
from idlanyard._binding.changing import identify
from idlanyard._binding.snapshot import UNSET, Unset, merge_tenant_names
from idlanyard._binding.state import get_binding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

IDs: TypeAlias = "dict[str, str | Unset]"
PLAIN: Final = (str, int, UUID)


def identify_login(
    hook: str,
    names: Iterable[str],
    find: Callable[[], Mapping[str, object]],
    *,
    remedy: str,
    before: IDs | None = None,
    refusals: tuple[type[Exception], ...] = (),
) -> IDs:
    """
    Identify the user that a login hook has found, or nobody.

    A user who is found and cannot be named is somebody else than the header,
    or the login before, has named: none of the names may stay. The same holds
    where the hook fails. The reason is logged once, without the value.

    Args:
        hook: how the hook is called, for the log.
        names: the IDs that the hook is asked for.
        find: returns the values found, by name, ``None`` for one that the
            user does not have; an empty mapping where nobody has logged in.
        remedy: what to write where a value is no ID.
        before: what this returned earlier in the request; said again, it
            changes nothing.
        refusals: what *find* raises to refuse the request, which is passed on.

    Returns:
        What was identified, ``UNSET`` for each name where it was nobody.
    """
    nobody: IDs = dict.fromkeys(_declared(names), UNSET)
    try:
        found, failure = _found(find, remedy, refusals)
    except refusals:
        identify(**nobody)
        raise
    ids = nobody if found is None else found
    if ids != (before or {}):
        identify(**(ids or nobody))
    if failure is not None:
        _failures.report_failure(hook, failure[0], reason=failure[1])
    return ids


def _found(
    find: Callable[[], Mapping[str, object]], remedy: str, refusals: tuple[type[Exception], ...]
) -> tuple[IDs | None, tuple[Exception, str] | None]:
    """
    Return the IDs that were found, or ``None`` and why there are none.
    """
    try:
        found = find()
    except refusals:
        raise
    except Exception as error:
        # Its message may have the value in it, and is only in the traceback.
        return None, (error, type(error).__name__)
    try:
        texts = {name: _text(name, value, remedy) for name, value in found.items()}
        texts = merge_tenant_names(texts)
        return {name: _checked(name, text) for name, text in texts.items()}, None
    except (TypeError, ValueError) as error:
        return None, (error, str(error).partition(":")[0])


def _declared(names: Iterable[str]) -> list[str]:
    """
    Return those of *names* that the policy in force declares.
    """
    index = get_binding().policy.index
    return [name for name in merge_tenant_names(dict.fromkeys(names)) if name in index]


def _text(name: str, value: object, remedy: str) -> str | None:
    """
    Return the text of an ID: text itself, a number or a UUID, and nothing else.

    Raises:
        TypeError: it is something else, such as the user itself.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, PLAIN):
        # A lazy value, as Flask-Login's current_user, says what it stands for.
        kind = value.__class__.__name__
        raise TypeError(f"{name} is text, a number or a UUID, not {kind}: {remedy}")
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str) and issubclass(type(value), str):
        # A subclass may have a text of its own, as members of an enumeration have.
        return str.__str__(value)
    return str(value)


def _checked(name: str, text: str | None) -> str | Unset:
    check = get_binding().policy.check(name)
    return UNSET if text is None else check.require(name, text)
