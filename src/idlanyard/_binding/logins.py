"""
Login hooks: a login identifies its user, and a user without a valid ID removes the IDs.
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
    Identify the user that a login hook has found, or remove the IDs.

    A user who logs in and has no valid ID is another user than the one that
    the header, or an earlier login, has named: none of the IDs may stay. The
    same holds if the hook fails. The reason is logged once, without the value.

    Args:
        hook: the name of the hook, for the log.
        names: the IDs that the hook is asked for.
        find: returns the values found, by name, ``None`` for an ID that the
            user does not have; an empty mapping if no user has logged in.
        remedy: the end of the message for a value that is not an ID.
        before: the result of an earlier call in this request; the same IDs
            again change nothing.
        refusals: exceptions by which *find* refuses the request; they pass.

    Returns:
        The IDs that were set, ``UNSET`` for each name if they were removed.
    """
    nobody: IDs = dict.fromkeys(_declared_names(names), UNSET)
    try:
        found, failure = _find_ids(find, remedy, refusals)
    except refusals:
        identify(**nobody)
        raise
    ids = nobody if found is None else found
    if ids != (before or {}):
        identify(**(ids or nobody))
    if failure is not None:
        _failures.report_failure(hook, failure[0], reason=failure[1])
    return ids


def _find_ids(
    find: Callable[[], Mapping[str, object]], remedy: str, refusals: tuple[type[Exception], ...]
) -> tuple[IDs | None, tuple[Exception, str] | None]:
    """
    Return the IDs that were found, or ``None`` and the reason.
    """
    try:
        found = find()
    except refusals:
        raise
    except Exception as error:
        # The message may contain the value: the log line has the type only.
        return None, (error, type(error).__name__)
    try:
        texts = {name: _read_text(name, value, remedy) for name, value in found.items()}
        texts = merge_tenant_names(texts)
        return {name: _check_text(name, text) for name, text in texts.items()}, None
    except (TypeError, ValueError) as error:
        return None, (error, str(error).partition(":")[0])


def _declared_names(names: Iterable[str]) -> list[str]:
    """
    Return the names that the current policy declares.
    """
    index = get_binding().policy.index
    return [name for name in merge_tenant_names(dict.fromkeys(names)) if name in index]


def _read_text(name: str, value: object, remedy: str) -> str | None:
    """
    Return the text of an ID, which may be given as a ``str``, a number or a UUID.

    Raises:
        TypeError: *value* is something else, such as the user object.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, PLAIN):
        # type() of a lazy value, as Flask-Login's current_user, would name the proxy.
        kind = value.__class__.__name__
        raise TypeError(f"{name} is text, a number or a UUID, not {kind}: {remedy}")
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str) and issubclass(type(value), str):
        # str() of a subclass may differ from its value, as with members of an enumeration.
        return str.__str__(value)
    return str(value)


def _check_text(name: str, text: str | None) -> str | Unset:
    check = get_binding().policy.check(name)
    return UNSET if text is None else check.require(name, text)
