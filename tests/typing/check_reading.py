"""
Reading the bound IDs. Never run: mypy and pyright read it.
"""

from __future__ import annotations

from typing import Any, assert_type

from idlanyard import (
    IDLanyardError,
    MissingID,
    PolicyError,
    Provenance,
    SessionContext,
    UntrustedID,
    get_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    require,
)

assert_type(get_session_id(), str | None)
assert_type(get_session_id("-"), str)
assert_type(get_session_id(None), str | None)
assert_type(get_session_id(0), str | int)
assert_type(get_user_id(), str | None)
assert_type(get_user_id("-"), str)
assert_type(get_tenant_id(), str | None)
assert_type(get_tenant_id("-"), str)
assert_type(get_id("request_id"), str | None)
assert_type(get_id("request_id", "-"), str)
assert_type(get_id("request_id", default="-"), str)

assert_type(require("user_id"), str)
assert_type(require("user_id", proven=True), str)
require("user_id", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

context = get_session_context()
assert_type(context, SessionContext)
assert_type(context.session_id, str | None)
assert_type(context.user_id, str | None)
assert_type(context.tenant_id, str | None)
assert_type(context.customer_id, str | None)
assert_type(context.get("request_id"), str | None)
assert_type(context.is_empty(), bool)
assert_type(context.as_dict(), dict[str, str])
assert_type(context.as_attributes(), dict[str, str])
assert_type(context.provenance("user_id"), Provenance | None)
context.user_id = "u1"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

assert_type(SessionContext(), SessionContext)
assert_type(SessionContext("s1", "u1", "t1", request_id="r1"), SessionContext)
SessionContext(session_id=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def evidence(missing: MissingID, untrusted: UntrustedID, wrong: PolicyError) -> None:
    """
    Errors have one root and carry what they are about.
    """
    errors: list[IDLanyardError] = [missing, untrusted, wrong]
    assert_type(missing.name, str)
    assert_type(untrusted.name, str)
    assert_type(untrusted.provenance, Provenance)
    assert_type(errors[0].args, tuple[Any, ...])
