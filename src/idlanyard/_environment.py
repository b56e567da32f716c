"""
What the environment may say: a policy's options, and static IDs (U3).
Read at call time, never written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, cast

from idlanyard import _events
from idlanyard._peers import EVERYONE
from idlanyard.exceptions import PolicyError
from idlanyard.ids import IDCheck

_STATIC: Final = {
    "session_id": ("IDLANYARD_SESSION_ID", "OTEL_INSTRUMENTATION_GENAI_SESSION_ID"),
    "user_id": ("IDLANYARD_USER_ID", "OTEL_INSTRUMENTATION_GENAI_USER_ID"),
    "tenant_id": ("IDLANYARD_TENANT_ID", "OTEL_INSTRUMENTATION_GENAI_CUSTOMER_ID"),
}
_CONTEXT: Final = "IDLANYARD_CONTEXT"
_LONGEST_CONTEXT: Final = 2_048
_SWITCH: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def static_id(name: str, check: IDCheck) -> str | None:
    """
    Return the first ID that the environment has under this name.

    A variable of its own goes before ``IDLANYARD_CONTEXT``, in which the
    parent process has left ``json.dumps(dump())``. A value that is no ID is
    passed over, with one warning.

    Args:
        name: the ID's name.
        check: what it may look like.
    """
    for variable in _STATIC.get(name, ()):
        value = os.environ.get(variable)
        if value and _is_id(variable, value, check):
            return value
    text = os.environ.get(_CONTEXT)
    value = _carried(text, name) if text else None
    return value if value and _is_id(f"{name} in {_CONTEXT}", value, check) else None


def _is_id(written: str, value: str, check: IDCheck) -> bool:
    try:
        check.require(written, value)
    except ValueError as error:
        _events.warn_once(written, "idlanyard: the environment's %s", error)
        return False
    return True


def _carried(text: str, name: str) -> str | None:
    import json

    try:
        ids: object = json.loads(text) if len(text) <= _LONGEST_CONTEXT else None
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, dict):
        _events.warn_once(
            _CONTEXT, "idlanyard: %s is no short JSON object: write json.dumps(dump())", _CONTEXT
        )
        return None
    entry: object = cast("dict[str, object]", ids).get(name)
    parts = cast("list[object]", entry) if isinstance(entry, list) else [entry]
    # A value and its provenance, as dump() writes them, or a value alone.
    return parts[0] if parts and isinstance(parts[0], str) else None


def options_from(environ: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the options of a policy that *environ* names.

    Raises:
        PolicyError: a variable cannot be understood; no secret is repeated.
    """
    options: dict[str, Any] = {}
    peers = [peer.strip() for peer in environ.get("IDLANYARD_TRUSTED_PEERS", "").split(",")]
    peers = [peer for peer in peers if peer]
    if peers:
        options["trusted_peers"] = [
            EVERYONE if peer.lower() == "everyone" else peer for peer in peers
        ]
    secret = environ.get("IDLANYARD_SHARED_SECRET", "").strip()
    if secret:
        options["shared_secret"] = _secret(secret)
    enabled = environ.get("IDLANYARD_ENABLED", "").strip().lower()
    if enabled:
        options["enabled"] = _switch(enabled)
    return options


def _secret(text: str) -> tuple[str, list[str]]:
    header, colon, secrets = text.partition(":")
    if not colon:
        raise PolicyError(
            "IDLANYARD_SHARED_SECRET names no header: write 'X-Proxy-Secret:...'",
            option="shared_secret",
        )
    return header.strip(), [secret.strip() for secret in secrets.split(",")]


def _switch(text: str) -> bool:
    if text not in _SWITCH:
        raise PolicyError(
            f"IDLANYARD_ENABLED is {text!r}: write 'true' or 'false'",
            option="enabled",
            value=text,
        )
    return _SWITCH[text]
