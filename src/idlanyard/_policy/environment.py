"""
Environment variables: the options of a policy, and static IDs.

They are read when they are needed, and never written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, cast

from idlanyard import _failures
from idlanyard._policy.id_check import IDCheck
from idlanyard._policy.keys import may_be_key, show_value
from idlanyard._policy.options import find_meant
from idlanyard._policy.peers import EVERYONE
from idlanyard.exceptions import PolicyError

_STATIC: Final = {
    "session_id": ("IDLANYARD_SESSION_ID", "OTEL_INSTRUMENTATION_GENAI_SESSION_ID"),
    "user_id": ("IDLANYARD_USER_ID", "OTEL_INSTRUMENTATION_GENAI_USER_ID"),
    "tenant_id": ("IDLANYARD_TENANT_ID", "OTEL_INSTRUMENTATION_GENAI_CUSTOMER_ID"),
}
_PREFIX: Final = "IDLANYARD_"
_CONTEXT: Final = "IDLANYARD_CONTEXT"
_TESTS: Final = "IDLANYARD_TEST_"
_ENDINGS: Final = (
    "TRUSTED_PEERS",
    "SHARED_SECRET",
    "ENABLED",
    "QUEUE_KEYS",
    "TRUSTED_QUEUE",
    "SESSION_ID",
    "USER_ID",
    "TENANT_ID",
    "CONTEXT",
)
_READ: Final = frozenset(_PREFIX + ending for ending in _ENDINGS)
_LONGEST_CONTEXT: Final = 2_048
_SWITCH: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def read_static_id(name: str, check: IDCheck) -> str | None:
    """
    Return the ID *name* of the environment, or ``None``.

    A variable of that ID wins over ``IDLANYARD_CONTEXT``, in which a parent
    process has put ``json.dumps(dump())``. A value that is no ID is skipped,
    with one warning.

    Args:
        name: the name of the ID.
        check: the check that the value has to pass.
    """
    for variable in _STATIC.get(name, ()):
        value = os.environ.get(variable)
        if value and _passes_check(variable, value, check):
            return value
    text = os.environ.get(_CONTEXT)
    value = read_context_variable(text, name) if text else None
    return value if value and _passes_check(f"{name} in {_CONTEXT}", value, check) else None


def _passes_check(written: str, value: str, check: IDCheck) -> bool:
    try:
        check.require(written, value)
    except ValueError as error:
        _failures.warn_once(written, "idlanyard: the environment's %s", error)
        return False
    return True


def read_context_variable(text: str, name: str) -> str | None:
    """
    Return the ID *name* out of the text of ``IDLANYARD_CONTEXT``, unchecked, or ``None``.
    """
    import json

    try:
        ids: object = json.loads(text) if len(text) <= _LONGEST_CONTEXT else None
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, dict):
        _failures.warn_once(
            _CONTEXT, "idlanyard: %s is no short JSON object: write json.dumps(dump())", _CONTEXT
        )
        return None
    entry: object = cast("dict[str, object]", ids).get(name)
    parts = cast("list[object]", entry) if isinstance(entry, list) else [entry]
    # A value and its provenance, as dump() writes them, or a value alone.
    return parts[0] if parts and isinstance(parts[0], str) else None


def read_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the options of a policy that are set in *environ*.

    Raises:
        PolicyError: a variable cannot be understood; no secret is repeated.
    """
    options: dict[str, Any] = {}
    peers = _split_list(environ.get("IDLANYARD_TRUSTED_PEERS", ""))
    if peers:
        options["trusted_peers"] = [
            EVERYONE if peer.lower() == "everyone" else peer for peer in peers
        ]
    secret = environ.get("IDLANYARD_SHARED_SECRET", "").strip()
    if secret:
        options["shared_secret"] = _parse_secret(secret)
    keys = _split_list(environ.get("IDLANYARD_QUEUE_KEYS", ""))
    if keys:
        options["queue_keys"] = keys
    for option in ("enabled", "trusted_queue"):
        switch = environ.get(f"{_PREFIX}{option.upper()}", "").strip().lower()
        if switch:
            options[option] = _parse_switch(option, switch)
    return options


def find_misspelt_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Return the variables that nothing reads but that look like ours, each with the one meant.
    """
    found: list[tuple[str, str]] = []
    for name in environ:
        if "LANYARD" in name.upper() and name not in _READ and not name.startswith(_TESTS):
            ending = name.upper().rpartition("LANYARD")[2].lstrip("S").strip("_-")
            ending = ending.replace("CUSTOMER", "TENANT")
            meant = find_meant(ending, _ENDINGS, cutoff=0.7)
            if meant:
                found.append((name, f"{_PREFIX}{meant}"))
    return found


def translate_error(error: PolicyError) -> PolicyError:
    """
    Return the error of an option as the error of its environment variable.
    """
    name = f"{_PREFIX}{(error.option or '').upper()}"
    message = str(error).replace(
        "to believe every peer, write trusted_peers=EVERYONE",
        f"to believe every peer (EVERYONE), write {name}=everyone",
    )
    return PolicyError(f"{name}: {message}", option=error.option, value=error.value)


def _split_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parse_secret(text: str) -> tuple[str, list[str]]:
    header, colon, secrets = text.partition(":")
    if not colon or not _split_list(secrets):
        missing = "secret" if colon else "header"
        raise PolicyError(
            f"IDLANYARD_SHARED_SECRET names no {missing}: set it to the header, a colon and the "
            f"secret, as in X-Proxy-Secret:...",
            option="shared_secret",
        )
    return header.strip(), _split_list(secrets)


def _parse_switch(option: str, text: str) -> bool:
    if text not in _SWITCH:
        raise PolicyError(
            f"{_PREFIX}{option.upper()} is {show_value(text)}: write 'true' or 'false'",
            option=option,
            value=None if may_be_key(text) else text,
        )
    return _SWITCH[text]
