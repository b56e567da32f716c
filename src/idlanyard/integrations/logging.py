"""
Logging: every record has the IDs that are current when it is made.
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
from idlanyard._policy.checked_policy import CheckedPolicy, Declared
from idlanyard._policy.policy import Policy, checked_policy, require_policy
from idlanyard.integrations.custom import report_failure

__all__ = ["SessionContextFilter", "SessionContextFormatter", "install"]

# A field of a format in any of the three styles.
_FIELD: Final = re.compile(r"(?:%\(|\{|\$\{?)([a-z][a-z0-9_]*)")

# Common names in formats, and the code that declares them.
_USUAL: Final = {
    "customer_id": "tenant_id",
    "request_id": "Policy(extra=[request_spec()])",
    "correlation_id": (
        "Policy(extra=[request_spec(name='correlation_id', header='X-Correlation-ID')])"
    ),
}


def install(policy: Policy | None = None) -> Callable[[], None]:
    """
    Add the current IDs to every log record, as attributes.

    Call it once per process. Records are made by the factory that was in place
    before, and then get ``session_id``, ``user_id``, ``tenant_id`` and every
    other declared ID, as its rule for logs shows it; an ID that is unset is
    ``None``. The IDs are those of the moment when the record is made or, if
    none are bound, those of the request that raised its exception. An
    attribute of that name from ``extra`` or from the earlier factory stays.

    Args:
        policy: the rules outside requests; left out, those of ``use_policy``.

    Returns:
        A function that undoes this, also if another factory has been set
        since; calling it again does nothing.

    Raises:
        TypeError: *policy* is not a ``Policy``.
    """
    factory = _Factory(logging.getLogRecordFactory(), _checked_or_none(policy))
    logging.setLogRecordFactory(factory)
    return factory.undo


class SessionContextFilter(logging.Filter):
    """
    Add the current IDs to the records of one handler or logger; ``install`` does so for all.

    The IDs are those that are current when the record passes: put the filter
    on the handler that the logging code calls, not behind a queue. If none are
    bound any more, they are those of the request in the record's ``extra``,
    where Django puts it. A record gets every ID that a policy of this process
    declares, also unset ones. An attribute that a record has already stays.
    Records are dropped only by *name*, as by ``logging.Filter``.

    Args:
        name: as in ``logging.Filter``.
        policy: the rules outside requests; left out, those of ``use_policy``.
        default: the text for an ID that is unset, such as ``"-"``; left out,
            ``None``.
        length: the number of characters of an ID to keep; left out, all.

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
        Add the IDs to the record.

        Args:
            record: the record that is logged.

        Returns:
            Whether the record is logged.
        """
        try:
            ids = _ids_of_request(record) if get_binding() is UNBOUND else {}
            record.__dict__.update(ids)
            shown = dict.fromkeys(Declared.names) | _show_ids(*_read_parts(record, self._policy))
            self._complete(record.__dict__, shown | ids)
        except Exception as error:
            report_failure("log filter", error)
        return super().filter(record)

    def _complete(self, there: dict[str, Any], shown: Mapping[str, str | None]) -> None:
        for name, text in shown.items():
            # An attribute that is there comes from ``install`` or from the application.
            found = there.setdefault(name, text)
            if found is None:
                there[name] = self._default
            elif found == text:
                there[name] = found[: self._length]


class SessionContextFormatter(logging.Formatter):
    """
    A ``logging.Formatter`` that prints ``-`` for an ID that is unset.

    An ID that a record lacks, since it was made before ``install``, counts as
    unset. IDs are the fields that a policy of this process declares, and those
    whose names end in ``_id``. If a record has no ID and a request in its
    ``extra``, where Django puts it, the IDs of that request are printed. The
    record is not changed.

    Args:
        fmt: as in ``logging.Formatter``, like the next three.
        datefmt: the format of times.
        style: ``"%"``, ``"{"`` or ``"$"``.
        validate: whether *fmt* is checked.
        defaults: texts for fields that are absent; one for an ID is printed
            instead of *default*.
        policy: a policy that declares further IDs; those of the policies that
            are built in this process are known without.
        default: the text for an ID that is unset.
        length: the number of characters of an ID to print; left out, all.

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
            record: the record that is logged.
        """
        there: Mapping[str, Any] = {**record.__dict__, **_ids_of_request(record)}
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
        # A copy of the attributes: another handler formats the same record.
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
    Log a warning once if a format names an ID that the record lacks while IDs are bound.
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
    The ``__dict__`` of a record, which has our names and leaves them free for ``extra``.

    ``Logger.makeRecord`` raises KeyError if a name in ``extra`` is in the
    record already. It alone is told that our names are not.

    Attributes:
        ours: the names of the IDs.
    """

    __slots__ = ("ours",)

    ours: Collection[str]

    def __contains__(self, name: object) -> bool:
        if name in self.ours:
            # A dict whose __missing__ answers our names needs no frame, and serves "%" formats
            # only: attributes, "{" and "$" formats, and formatters of JSON read past it. A dict
            # that hides the names from everybody fails code that asks for them by "in".
            asking = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            if asking.f_code.co_name == "makeRecord":
                return False
        return super().__contains__(name)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copied or pickled record is read in processes that may lack this package.
        return dict, (dict(self),)


class _Names(NamedTuple):
    """
    The names for the records of one policy whose rules hide no ID from logs.

    Attributes:
        policy: the rules; ``None`` if they hide an ID.
        known: ``Declared.names`` at the time when this was made.
        absent: the IDs that only other policies declare.
        ours: all names.
    """

    policy: CheckedPolicy | None
    known: tuple[str, ...]
    absent: Mapping[str, None]
    ours: Collection[str]


class _Factory:
    """
    A factory that adds the IDs to the records of the factory before it.
    """

    __slots__ = ("_names", "_policy", "before", "installed")

    def __init__(
        self, before: Callable[..., logging.LogRecord], policy: CheckedPolicy | None
    ) -> None:
        self.before = before
        self.installed = True
        self._policy = policy
        self._names = _Names(None, (), {}, ())

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.before(*args, **kwargs)
        if not self.installed:
            return record
        try:
            binding = get_binding()
            policy, values = binding.policy, binding.values
            usual = self._names
            # Written out here and not in a function, since nearly every record takes this way: the
            # policy is that of the last record.
            if (
                policy is usual.policy
                and usual.known is Declared.names
                and (
                    binding.__class__ is RequestIDs
                    or (None not in values and self._policy is None)
                    or _has_every_id(binding, values, self._policy)
                )
            ):
                session, user, tenant = values[:3]
                attributes = _Attributes(session_id=session, user_id=user, tenant_id=tenant)
                if policy.further:
                    attributes.update(zip(policy.names, values, strict=False))
                if usual.absent:
                    attributes.update(usual.absent)
                attributes.ours = usual.ours
                attributes.update(record.__dict__)
                record.__dict__ = attributes
            else:
                self._complete(record)
        except Exception as error:
            report_failure("log record factory", error)
        return record

    def _complete(self, record: logging.LogRecord) -> None:
        before = record.__dict__
        policy, names, values = _read_parts(record, self._policy)
        attributes = _Attributes(dict.fromkeys(Declared.names) | _show_ids(policy, names, values))
        inner = before.ours if isinstance(before, _Attributes) else ()
        attributes.ours = {*attributes, *inner}
        # An attribute that the record has by now is the application's own.
        attributes.update(before)
        record.__dict__ = attributes
        if not isinstance(before, _Attributes):
            self._names = _names_for(policy)

    def undo(self) -> None:
        """
        Add nothing from now on, and leave the chain of factories when ours is the last one.
        """
        self.installed = False
        while isinstance(last := logging.getLogRecordFactory(), _Factory) and not last.installed:
            logging.setLogRecordFactory(last.before)


def _names_for(policy: CheckedPolicy) -> _Names:
    """
    Return the names for records of *policy*, which may hide an ID or its signature from logs.
    """
    known = Declared.names
    if any(spec.log != "clear" or spec.signed is not None for spec in policy.specs.values()):
        return _Names(None, known, {}, ())
    absent = dict.fromkeys(name for name in known if name not in policy.index)
    return _Names(policy, known, absent, {*known, *policy.names})


def _has_every_id(binding: Binding, values: Values, given: CheckedPolicy | None) -> bool:
    """
    Return whether the binding alone has every ID, so that the environment is not asked.
    """
    if isinstance(binding, Overlay) and binding.over is None:
        return given is None and None not in values
    return binding is not UNBOUND


def _read_parts(record: logging.LogRecord, given: CheckedPolicy | None) -> Parts:
    """
    Return the policy, the names and the values for a record that is made now.
    """
    binding = get_binding()
    if _has_every_id(binding, binding.values, given):
        return binding.policy, binding.policy.names, binding.values
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    carried = ids_of_error(error) if error is not None and binding is UNBOUND else None
    bound_by, names, values = parts_of(carried or get_session_context())
    return bound_by if carried else given or binding.policy, names, values


def _ids_of_request(record: logging.LogRecord) -> dict[str, str | None]:
    """
    Return the IDs of the request in a record's ``extra``, if the record has none.

    Django logs ``Not Found: /x`` when its middlewares have returned and no IDs are bound.
    """
    if "request" not in record.__dict__:
        return {}
    context: object = None
    # Any object may be there, and its attributes may raise any exception.
    with contextlib.suppress(Exception):
        context = record.__dict__["request"].session_context
    if not isinstance(context, RequestContext):
        return {}
    policy, names, values = parts_of(context)
    if any(record.__dict__.get(name) is not None for name in names):
        return {}
    return _show_ids(policy, names, values)


def _show_ids(
    policy: CheckedPolicy, names: tuple[str, ...], values: Values
) -> dict[str, str | None]:
    """
    Return the IDs by name, as their rules for logs show them.
    """
    return {
        name: None if value is None else policy.show("log", name, value)
        for name, value in zip(names, values, strict=False)
    }
