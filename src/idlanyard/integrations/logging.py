"""
Logging: every record has the IDs that are in force where it is made.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final

from idlanyard import _events
from idlanyard._access import get_session_context
from idlanyard._binding import UNBOUND, Node, Overlay, Scope, carried_by, current
from idlanyard._policy import Policy
from idlanyard._snapshot import Values
from idlanyard._view import RequestContext

__all__ = ["SessionContextFilter", "SessionContextFormatter", "install"]

_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")


def install(policy: Policy | None = None) -> Callable[[], None]:
    """
    Let every log record have the IDs in force as attributes.

    Call it once per process. Records are made as before, by the factory that
    was in place, and get ``session_id``, ``user_id``, ``tenant_id`` and every
    ID that is declared besides, as its log sink shows it; ``None`` where it is
    unset. They are those of the moment in which the record is made, or, where
    nothing is bound, those that its exception has carried out of a request.
    An attribute of that name that comes from ``extra``, or from the factory
    before, stays.

    Args:
        policy: the rules outside requests; left out, those of ``use_policy``.

    Returns:
        A function that takes this back, also when another factory has been
        set since; calling it again does nothing.

    Raises:
        TypeError: *policy* is not a ``Policy``.
    """
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(f"policy is a Policy, not {type(policy).__name__}: write Policy(...)")
    factory = _Factory(logging.getLogRecordFactory(), policy)
    logging.setLogRecordFactory(factory)
    return factory.undo


class SessionContextFilter(logging.Filter):
    """
    Gives records the IDs where ``install`` is not wanted: by handler or by logger.

    The IDs are those in force when the record passes: put it on the handler
    that the logging code calls, not behind a queue. Where nothing is bound any
    more, they are those of the request in the record's ``extra``, where lines
    of Django have it. What a record has already stays. It takes the same
    argument as ``logging.Filter``, and lets through what that would.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Complete the record.

        Args:
            record: what is logged.

        Returns:
            Whether the record is logged.
        """
        try:
            ids = _of_request(record) if current() is UNBOUND else {}
            record.__dict__.update(ids)
            for name, text in _shown(*_in_force(record, None)).items():
                record.__dict__.setdefault(name, text)
        except Exception as error:
            _events.failed("log filter", error)
        return super().filter(record)


class SessionContextFormatter(logging.Formatter):
    """
    A ``logging.Formatter`` that prints ``-`` for an ID that is unset.

    It takes the same arguments. An ID that a record lacks, since it was made
    before ``install``, is unset as well. IDs are the fields that the rules in
    force declare, and those whose names end in ``_id``. What ``defaults`` says
    of one is printed instead of ``-``. A record that has no ID and, as those of
    Django have it, a request in its ``extra`` is printed with the IDs of that
    request. The record is left as it is.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """
        Return the line without traceback and stack.

        Args:
            record: what is logged.
        """
        there: Mapping[str, Any] = {**record.__dict__, **_of_request(record)}
        declared = current().policy.index
        defaults: Mapping[str, Any] = getattr(self._style, "_defaults", None) or {}
        unset = {
            word: defaults.get(word, "-")
            for word in _words(self._fmt or "")
            if there.get(word) is None and (word.endswith("_id") or word in declared)
        }
        # A style reads the attributes and nothing else; other handlers see them unchanged.
        return self._style.format(SimpleNamespace(**{**there, **unset}))


@lru_cache(maxsize=128)
def _words(fmt: str) -> frozenset[str]:
    """
    Return whatever may be a field's name in any style.
    """
    return frozenset(_WORD.findall(fmt))


class _Attributes(dict[str, Any]):
    """
    What a record has as ``__dict__``: our names are in it, and free for ``extra``.

    ``Logger.makeRecord`` raises KeyError for an ``extra`` that is in a record
    already. It is the only one that is told that our names are not.
    """

    __slots__ = ("ours",)

    ours: Collection[str]

    def __contains__(self, name: object) -> bool:
        if name in self.ours:
            asking = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            if asking.f_code.co_name == "makeRecord":
                return False
        return super().__contains__(name)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy or a pickle is an ordinary record, which may be read without us.
        return dict, (dict(self),)


class _Factory:
    """
    Makes records as the factory before does, with the IDs.
    """

    __slots__ = ("_plain", "_policy", "before", "installed")

    def __init__(self, before: Callable[..., logging.LogRecord], policy: Policy | None) -> None:
        self.before = before
        self.installed = True
        self._policy = policy
        self._plain: Policy | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.before(*args, **kwargs)
        if not self.installed:
            return record
        try:
            node = current()
            policy, values = node.policy, node.values
            # In one frame, since nearly every record is made under the rules of the last one.
            if policy is self._plain and (
                node.__class__ is Scope
                or (None not in values and self._policy is None)
                or _is_said(node, values, self._policy)
            ):
                session, user, tenant = values[:3]
                attributes = _Attributes(session_id=session, user_id=user, tenant_id=tenant)
                if policy.extra:
                    attributes.update(zip(policy.names, values, strict=False))
                attributes.ours = policy.index
                attributes.update(record.__dict__)
                record.__dict__ = attributes
            else:
                self._complete(record)
        except Exception as error:
            _events.failed("log record factory", error)
        return record

    def _complete(self, record: logging.LogRecord) -> None:
        before = record.__dict__
        policy, names, values = _in_force(record, self._policy)
        ids = dict.fromkeys(self._policy.names) if self._policy is not None else {}
        attributes = _Attributes(ids | _shown(policy, names, values))
        inner = before.ours if isinstance(before, _Attributes) else ()
        attributes.ours = {*attributes, *inner}
        # What the record has by now is the application's own, and wins.
        attributes.update(before)
        record.__dict__ = attributes
        if policy is not self._plain:
            self._plain = policy if self._is_plain(policy, before) else None

    def _is_plain(self, policy: Policy, before: Mapping[str, Any]) -> bool:
        """
        Say whether records under these rules need nothing but the names and the values.
        """
        given = self._policy
        return (
            not isinstance(before, _Attributes)
            and (given is None or {*given.names} <= {*policy.names})
            and all(spec.log == "clear" for spec in policy.specs.values())
        )

    def undo(self) -> None:
        """
        Add nothing from now on, and leave the chain as soon as we stand at its end.
        """
        self.installed = False
        while isinstance(last := logging.getLogRecordFactory(), _Factory) and not last.installed:
            logging.setLogRecordFactory(last.before)


def _is_said(node: Node, values: Values, given: Policy | None) -> bool:
    """
    Say whether *node* answers for every ID by its own rules, and the environment for none.
    """
    if isinstance(node, Overlay) and node.over is None:
        return given is None and None not in values
    return node is not UNBOUND


def _in_force(
    record: logging.LogRecord, given: Policy | None
) -> tuple[Policy, tuple[str, ...], Values]:
    """
    Return the rules, the names and the values that hold for a record made here.
    """
    node = current()
    if _is_said(node, node.values, given):
        return node.policy, node.policy.names, node.values
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    carried = carried_by(error) if error is not None and node is UNBOUND else None
    context = carried or get_session_context()
    policy: Policy = context._policy if carried else given or node.policy  # pyright: ignore[reportPrivateUsage]
    return policy, context._names, context._values  # pyright: ignore[reportPrivateUsage]


def _of_request(record: logging.LogRecord) -> dict[str, str | None]:
    """
    Return the IDs of the request in a record's ``extra``, where the record has none.

    Django logs ``Not Found: /x`` when its middlewares have returned and nothing is bound.
    """
    if "request" not in record.__dict__:
        return {}
    context: object = None
    # It may be anybody's, and refuse in any way it likes.
    with contextlib.suppress(Exception):
        context = record.__dict__["request"].session_context
    if not isinstance(context, RequestContext):
        return {}
    names, policy = context._names, context._policy  # pyright: ignore[reportPrivateUsage]
    if any(record.__dict__.get(name) is not None for name in names):
        return {}
    return _shown(policy, names, context._values)  # pyright: ignore[reportPrivateUsage]


def _shown(policy: Policy, names: tuple[str, ...], values: Values) -> dict[str, str | None]:
    """
    Return the IDs by name, as their log sinks show them (S25).
    """
    return {
        name: None if value is None else policy.shown("log", name, value)
        for name, value in zip(names, values, strict=False)
    }
