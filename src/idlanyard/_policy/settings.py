"""
A policy from the settings of a framework: the options of ``Policy`` and ``IDSpec`` in capitals, as
Django and Flask spell settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from idlanyard._policy.default_specs import (
    request_spec,
    session_spec,
    suggest_header,
    tenant_spec,
    user_spec,
)
from idlanyard._policy.header_names import derive_header, derive_name
from idlanyard._policy.options import find_meant, options_of
from idlanyard._policy.peers import EVERYONE
from idlanyard._policy.policy import Policy
from idlanyard._policy.spec import IDSpec
from idlanyard.exceptions import PolicyError

_SPECS: Final[dict[str, Callable[..., IDSpec]]] = {
    "SESSION": session_spec,
    "USER": user_spec,
    "TENANT": tenant_spec,
}
_OPTIONS: Final = tuple(field.name.upper() for field in options_of(Policy))
_RULES: Final = tuple(field.name.upper() for field in options_of(IDSpec))
# Django leaves a setting with KEY in its name out of error pages and mails.
_NAMES: Final = {"SIGNING_KEYS": "SIGNED"}
_KEYS: Final = ("SIGNED", "SIGNING_KEYS")
_SPEC_CALL: Final = re.compile(r"\b(?:session_spec|user_spec|tenant_spec|IDSpec)\(([^()]*)\)")
_ASSIGNED: Final = re.compile(rf"\b({'|'.join(_OPTIONS + _RULES)})=(?!=)".lower())


def policy_from_settings(settings: Mapping[str, Any], *, written: str) -> Policy:
    """
    Return the policy that *settings* describe.

    Args:
        settings: ``TRUSTED_PEERS``, ``SESSION`` and so on; the value of
            ``SESSION``, ``USER`` and ``TENANT`` is a mapping of the same
            kind, an ``IDSpec`` or ``None``, that of ``EXTRA`` a list of them.
        written: the code of one option in these settings, ``{}`` in place of
            its name, for the messages.

    Raises:
        PolicyError: an option is unknown or wrong; the message says what to
            write in these settings.
    """
    options: dict[str, Any] = {}
    for name, value in settings.items():
        _check_option(name, written)
        options[name.lower()] = _read_option(name, value, written)
    try:
        return Policy(**options)
    except PolicyError as error:
        raise _translate_error(error, _OPTIONS, written, written) from error


def _read_option(name: str, value: Any, written: str) -> Any:
    if name in _SPECS:
        return _read_spec(name, value, written)
    if name == "EXTRA":
        return _read_extra(value, written)
    # Settings may come from environment variables, which cannot hold the constant EVERYONE.
    if name == "TRUSTED_PEERS" and isinstance(value, str) and value.lower() == "everyone":
        return EVERYONE
    return value


def _read_spec(name: str, value: Any, written: str) -> Any:
    """
    Return the rules of the session, user or tenant ID.
    """
    if value is None or isinstance(value, IDSpec):
        return value
    place = written.format(name)
    if not isinstance(value, Mapping):
        raise PolicyError(
            f"{place} is {type(value).__name__}: "
            f"write {_begin_assignment(name, written)}{_suggest_rules(value, name)}",
            option=name.lower(),
            value=value,
        )
    rules = cast("Mapping[str, Any]", value)
    if "NAME" in rules:
        extra = _begin_assignment("EXTRA", written)
        raise PolicyError(
            f"{place}['NAME'] is fixed: leave it out, or write "
            f"{extra}[{{'NAME': 'device_id', 'HEADER': 'X-Device-ID'}}] for another ID",
            option="name",
            value=rules["NAME"],
        )
    return _build_spec(_SPECS[name], rules, f"{place}['{{}}']", written)


def _suggest_rules(value: Any, name: str) -> str:
    """
    Return the settings of an ID that another value than a mapping was probably meant to be.
    """
    if value is False:
        return "None"
    entries = cast("list[object]", value) if isinstance(value, list | tuple) else []
    headers = [entry for entry in entries if suggest_header(name.lower(), entry)]
    if headers:
        return f"{{'SOURCES': {headers!r}}}"
    header = suggest_header(name.lower(), cast("object", value)) or _SPECS[name]().header
    return f"{{'HEADER': {header!r}}}"


def _read_extra(value: Any, written: str) -> Any:
    """
    Return the rules of further IDs; ``request_id`` has the defaults of ``request_spec``.
    """
    if isinstance(value, list | tuple):
        inside = f"{written.format('EXTRA')}[...]['{{}}']"
        return [_read_extra_spec(entry, inside, written) for entry in cast("list[Any]", value)]
    rules: dict[str, Any] = {"NAME": "request_id"}
    if isinstance(value, Mapping):
        rules = _hide_keys(cast("Mapping[str, Any]", value))
    elif value != "request_id" and (header := suggest_header("extra", value)):
        rules = _complete_rules({"HEADER" if "-" in header else "NAME": header})
    line = f"{_begin_assignment('EXTRA', written)}[{rules!r}]"
    raise PolicyError(
        f"{written.format('EXTRA')}: extra is a list: write {line}",
        option="extra",
        value=None if isinstance(value, Mapping) else cast("object", value),
    )


def _hide_keys(rules: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the rules of an ID with their keys left out.
    """
    return {name: "..." if name in _KEYS else rule for name, rule in rules.items()}


def _read_extra_spec(entry: Any, inside: str, written: str) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    rules = cast("Mapping[str, Any]", entry)
    build = request_spec if rules.get("NAME") == "request_id" else IDSpec
    return _build_spec(build, rules, inside, written)


def _build_spec(
    build: Callable[..., IDSpec], rules: Mapping[str, Any], inside: str, top: str
) -> IDSpec:
    for name in rules:
        _check_rule(name, inside, top)
    if build is IDSpec and not {"NAME", "HEADER"} <= rules.keys():
        example = _complete_rules(rules)
        raise PolicyError(
            f"{inside.format('NAME')} and {inside.format('HEADER')} are both needed: "
            f"write {_begin_assignment('EXTRA', top)}[{example!r}]",
            option="extra",
            value=_hide_keys(rules),
        )
    try:
        return build(**{_NAMES.get(name, name).lower(): rule for name, rule in rules.items()})
    except PolicyError as error:
        raise _translate_error(error, _RULES, inside, top) from error


def _complete_rules(rules: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the rules of a further ID, completed by the name or the header that they lack.
    """
    name = str(rules.get("NAME") or derive_name(str(rules.get("HEADER"))))
    header = str(rules.get("HEADER") or derive_header(name))
    try:
        IDSpec(name=name, header=header)
    except PolicyError:
        name, header = "device_id", "X-Device-ID"
    return {"NAME": name, "HEADER": header}


def _check_option(name: object, written: str) -> None:
    """
    Refuse a name that is no option of ``Policy``; the message has the one meant.
    """
    if name in _OPTIONS:
        return
    owner, _, rest = str(name).upper().partition("_")
    rule = find_meant(rest, _RULES, cutoff=0.75) if rest and owner in _SPECS else None
    option = find_meant(str(name), _OPTIONS)
    if rule is not None:
        meant = f"{written.format(owner)}['{rule}']"
    elif option is not None:
        meant = written.format(option)
    elif (rule := find_meant(str(name), _RULES)) is not None:
        meant = f"{written.format('SESSION')}['{rule}']"
    else:
        meant = f"one of {', '.join(_OPTIONS)}"
    raise PolicyError(f"{written.format(name)} is no option: write {meant}", option=str(name))


def _check_rule(name: object, inside: str, top: str) -> None:
    """
    Refuse a name that is no option of ``IDSpec``; the message has the one meant.
    """
    if name in _RULES or name in _NAMES:
        return
    rule, option = find_meant(str(name), _RULES), find_meant(str(name), _OPTIONS)
    if rule is not None:
        meant = inside.format(rule)
    elif option is not None:
        meant = top.format(option)
    else:
        meant = f"one of {', '.join(_RULES)}"
    raise PolicyError(f"{inside.format(name)} is no option: write {meant}", option=str(name))


def _translate_error(
    error: PolicyError, names: tuple[str, ...], place: str, top: str
) -> PolicyError:
    """
    Return the error of an option as an error of these settings.
    """
    name = (error.option or "").upper()
    message = str(error).replace("request_spec()", "{'NAME': 'request_id'}")
    message = _ASSIGNED.sub(
        lambda found: _write_assignment(found[1], top), _write_mappings(message)
    )
    before = place.format(name) if name in names else re.split(r"_?[{\[]", top)[0]
    return PolicyError(f"{before}: {message}", option=error.option, value=error.value)


def _write_mappings(message: str) -> str:
    return _SPEC_CALL.sub(
        lambda call: "{" + _ASSIGNED.sub(lambda it: f"'{it[1].upper()}': ", call[1]) + "}", message
    )


def _write_assignment(option: str, top: str) -> str:
    name = option.upper()
    return _begin_assignment(name, top) if name in _OPTIONS else f"'{name}': "


def _begin_assignment(name: str, written: str) -> str:
    """
    Return the beginning of the code that sets an option in these settings.
    """
    return f"'{name}': " if written.endswith("['{}']") else f"{written.format(name)} = "
