"""
Logging: every record has the IDs that are in force where it is made.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import sys
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, Final, Literal, NamedTuple

from idlanyard import _failures
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.snapshot import Parts, Values, parts_of
from idlanyard._binding.state import (
    UNBOUND,
    Binding,
    Overlay,
    RequestContext,
    RequestIDs,
    get_binding,
    ids_of_error,
)
from idlanyard._policy.checked import CheckedPolicy, Declared
from idlanyard._policy.policy import Policy, checked_policy, require_policy
from idlanyard.integrations.custom import report_failure

__all__ = ["SessionContextFilter", "SessionContextFormatter", "install"]

# A field of a format in any of the three styles.
_FIELD: Final = re.compile(r"(?:%\(|\{|\$\{?)([a-z][a-z0-9_]*)")

# Names that others use, and how to have them.
_USUAL: Final = {
    "customer_id": "tenant_id",
    "request_id": "Policy(extra=[request_spec()])",
    "correlation_id": (
        "Policy(extra=[request_spec(name='correlation_id', header='X-Correlation-ID')])"
    ),
}


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
    factory = _Factory(logging.getLogRecordFactory(), _checked_or_none(policy))
    logging.setLogRecordFactory(factory)
    return factory.undo


class SessionContextFilter(logging.Filter):
    """
    Gives records the IDs where ``install`` is not wanted: by handler or by logger.

    The IDs are those in force when the record passes: put it on the handler
    that the logging code calls, not behind a queue. Where nothing is bound any
    more, they are those of the request in the record's ``extra``, where lines
    of Django have it. A record gets every ID that a policy of this process
    declares, unset ones too. What a record has already stays. It lets through
    what ``logging.Filter`` would.

    Args:
        name: as in ``logging.Filter``.
        policy: the rules outside requests; left out, those of ``use_policy``.
        default: the text for an ID that is unset, such as ``"-"``; left out,
            it is ``None``.
        length: how many characters of an ID are kept; left out, all.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: *length* is not positive.
    """

    def __init__(
        self,
        name: str = "",
        *,
        policy: Policy | None = None,
        default: str | None = None,
        length: int | None = None,
    ) -> None:
        super().__init__(name)
        self._policy = _checked_or_none(policy)
        self._default = None if default is None else _checked_default(default)
        self._length = _checked_length(length)

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Complete the record.

        Args:
            record: what is logged.

        Returns:
            Whether the record is logged.
        """
        try:
            ids = _of_request(record) if get_binding() is UNBOUND else {}
            record.__dict__.update(ids)
            shown = dict.fromkeys(Declared.names) | _shown(*_in_force(record, self._policy))
            self._complete(record.__dict__, shown | ids)
        except Exception as error:
            report_failure("log filter", error)
        return super().filter(record)

    def _complete(self, there: dict[str, Any], shown: Mapping[str, str | None]) -> None:
        for name, text in shown.items():
            # Whatever is there is either of ``install`` or the application's own.
            found = there.setdefault(name, text)
            if found is None:
                there[name] = self._default
            elif found == text:
                there[name] = found[: self._length]


class SessionContextFormatter(logging.Formatter):
    """
    A ``logging.Formatter`` that prints ``-`` for an ID that is unset.

    An ID that a record lacks, since it was made before ``install``, is unset
    as well. IDs are the fields that a policy of this process declares, and
    those whose names end in ``_id``. A record that has no ID and, as those of
    Django have it, a request in its ``extra`` is printed with the IDs of that
    request. The record is left as it is.

    Args:
        fmt: as in ``logging.Formatter``, like the next three.
        datefmt: how times are written.
        style: ``"%"``, ``"{"`` or ``"$"``.
        validate: whether *fmt* is checked.
        defaults: texts for fields that are absent; one for an ID is printed
            instead of *default*.
        policy: a policy that declares further IDs; those of the policies that
            are built in this process are known without.
        default: the text for an ID that is unset.
        length: how many characters of an ID are printed; left out, all.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: *length* is not positive, or *fmt* and *style* do not fit.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
        policy: Policy | None = None,
        default: str = "-",
        length: int | None = None,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate, defaults=defaults)
        self._policy = _checked_or_none(policy)
        self._default = _checked_default(default)
        self._length = _checked_length(length)
        self._fields = frozenset(_FIELD.findall(self._fmt or ""))
        self._texts = dict(defaults or {})

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """
        Return the line without traceback and stack.

        Args:
            record: what is logged.
        """
        there: Mapping[str, Any] = {**record.__dict__, **_of_request(record)}
        ids: dict[str, Any] = {}
        for name in self._fields:
            if name.endswith("_id") or name in Declared.names:
                found = there.get(name)
                if found is None:
                    ids[name] = self._texts.get(name, self._default)
                    if name not in there:
                        _warn_of_absent(name)
                elif self._length is not None and isinstance(found, str):
                    ids[name] = found[: self._length]
        # A style reads the attributes and nothing else; other handlers see them unchanged.
        return self._style.format(SimpleNamespace(**{**there, **ids}))


def _checked_or_none(policy: Policy | None) -> CheckedPolicy | None:
    return None if policy is None else checked_policy(require_policy(policy))


def _checked_default(default: str) -> str:
    if not isinstance(default, str):
        raise TypeError(f"default is a str, not {type(default).__name__}: write default='-'")
    return default


def _checked_length(length: int | None) -> int | None:
    if length is None:
        return None
    if not isinstance(length, int) or isinstance(length, bool):
        raise TypeError(f"length is an int, not {type(length).__name__}: write length=8")
    if length < 1:
        raise ValueError(f"length is {length}: write a number of characters, as in length=8")
    return length


def _warn_of_absent(name: str) -> None:
    """
    Warn once of a format whose lines stay without an ID while IDs are bound.
    """
    if get_binding() is UNBOUND:
        return
    if name in Declared.names:
        installed = isinstance(logging.getLogRecordFactory(), _Factory)
        if not installed and get_session_context().get(name) is not None:
            _failures.warn_once(
                "log records without IDs",
                "idlanyard: a log line has no %s although one is bound: call "
                "idlanyard.integrations.logging.install() where the application starts, or add "
                "SessionContextFilter() to the handler",
                name,
            )
        return
    close = difflib.get_close_matches(name, Declared.names, n=1, cutoff=0.85)
    meant = close[0] if close else _USUAL.get(name)
    if meant:
        _failures.warn_once(
            f"log field {name}",
            "idlanyard: a log format names %s, which is no declared ID: write %s",
            name,
            meant,
        )


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


class _Plain(NamedTuple):
    """
    What records under one policy need, where nothing is hidden.

    Attributes:
        policy: the rules.
        known: ``Declared.names``, as it was when this was made.
        absent: the IDs that only other policies declare.
        ours: all names.
    """

    policy: CheckedPolicy | None
    known: tuple[str, ...]
    absent: Mapping[str, None]
    ours: Collection[str]


class _Factory:
    """
    Makes records as the factory before does, with the IDs.
    """

    __slots__ = ("_plain", "_policy", "before", "installed")

    def __init__(
        self, before: Callable[..., logging.LogRecord], policy: CheckedPolicy | None
    ) -> None:
        self.before = before
        self.installed = True
        self._policy = policy
        self._plain = _Plain(None, (), {}, ())

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.before(*args, **kwargs)
        if not self.installed:
            return record
        try:
            binding = get_binding()
            policy, values = binding.policy, binding.values
            plain = self._plain
            # In one frame, since nearly every record is made under the rules of the last one.
            if (
                policy is plain.policy
                and plain.known is Declared.names
                and (
                    binding.__class__ is RequestIDs
                    or (None not in values and self._policy is None)
                    or _is_said(binding, values, self._policy)
                )
            ):
                session, user, tenant = values[:3]
                attributes = _Attributes(session_id=session, user_id=user, tenant_id=tenant)
                if policy.further:
                    attributes.update(zip(policy.names, values, strict=False))
                if plain.absent:
                    attributes.update(plain.absent)
                attributes.ours = plain.ours
                attributes.update(record.__dict__)
                record.__dict__ = attributes
            else:
                self._complete(record)
        except Exception as error:
            report_failure("log record factory", error)
        return record

    def _complete(self, record: logging.LogRecord) -> None:
        before = record.__dict__
        policy, names, values = _in_force(record, self._policy)
        attributes = _Attributes(dict.fromkeys(Declared.names) | _shown(policy, names, values))
        inner = before.ours if isinstance(before, _Attributes) else ()
        attributes.ours = {*attributes, *inner}
        # What the record has by now is the application's own, and wins.
        attributes.update(before)
        record.__dict__ = attributes
        if not isinstance(before, _Attributes):
            self._plain = _plain_under(policy)

    def undo(self) -> None:
        """
        Add nothing from now on, and leave the chain as soon as we stand at its end.
        """
        self.installed = False
        while isinstance(last := logging.getLogRecordFactory(), _Factory) and not last.installed:
            logging.setLogRecordFactory(last.before)


def _plain_under(policy: CheckedPolicy) -> _Plain:
    """
    Return what records under *policy* need; nothing is plain where its log sinks hide an ID.
    """
    known = Declared.names
    if any(spec.log != "clear" for spec in policy.specs.values()):
        return _Plain(None, known, {}, ())
    absent = dict.fromkeys(name for name in known if name not in policy.index)
    return _Plain(policy, known, absent, {*known, *policy.names})


def _is_said(binding: Binding, values: Values, given: CheckedPolicy | None) -> bool:
    """
    Say whether *node* answers for every ID by its own rules, and the environment for none.
    """
    if isinstance(binding, Overlay) and binding.over is None:
        return given is None and None not in values
    return binding is not UNBOUND


def _in_force(record: logging.LogRecord, given: CheckedPolicy | None) -> Parts:
    """
    Return the rules, the names and the values that hold for a record made here.
    """
    binding = get_binding()
    if _is_said(binding, binding.values, given):
        return binding.policy, binding.policy.names, binding.values
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    carried = ids_of_error(error) if error is not None and binding is UNBOUND else None
    bound_by, names, values = parts_of(carried or get_session_context())
    return bound_by if carried else given or binding.policy, names, values


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
    policy, names, values = parts_of(context)
    if any(record.__dict__.get(name) is not None for name in names):
        return {}
    return _shown(policy, names, values)


def _shown(policy: CheckedPolicy, names: tuple[str, ...], values: Values) -> dict[str, str | None]:
    """
    Return the IDs by name, as their log sinks show them (S25).
    """
    return {
        name: None if value is None else policy.show("log", name, value)
        for name, value in zip(names, values, strict=False)
    }
