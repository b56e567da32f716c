"""
Session, user and tenant IDs that travel along with a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard._access import (
    effective_session_id,
    get_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    process_session_id,
    require,
)
from idlanyard._admission import Admission
from idlanyard._baggage import Baggage
from idlanyard._binding import use_policy
from idlanyard._blocks import scoped_iter, session_context, without
from idlanyard._carrier import dump, extract, inject, prepare_request_headers, restore
from idlanyard._change import (
    clear_session_context,
    clear_session_id,
    identify,
    new_session_id,
    rotate_session_id,
    set_session_context,
    set_session_id,
)
from idlanyard._defaults import request_spec, session_spec, tenant_spec, user_spec
from idlanyard._events import subscribe
from idlanyard._peers import EVERYONE
from idlanyard._policy import Policy
from idlanyard._signature import bind
from idlanyard._snapshot import UNSET, SessionContext
from idlanyard._sources import Cookie, Header, PathPrefix, Query, Subdomain
from idlanyard._spec import IDSpec
from idlanyard.exceptions import IDLanyardError, MissingID, PolicyError, UntrustedID
from idlanyard.ids import Provenance

if TYPE_CHECKING:
    from idlanyard._carrying import ContextThreadPoolExecutor, carry

__all__ = [
    "EVERYONE",
    "UNSET",
    "Admission",
    "Baggage",
    "ContextThreadPoolExecutor",
    "Cookie",
    "Header",
    "IDLanyardError",
    "IDSpec",
    "MissingID",
    "PathPrefix",
    "Policy",
    "PolicyError",
    "Provenance",
    "Query",
    "SessionContext",
    "Subdomain",
    "UntrustedID",
    "bind",
    "carry",
    "clear_session_context",
    "clear_session_id",
    "dump",
    "effective_session_id",
    "extract",
    "get_id",
    "get_session_context",
    "get_session_id",
    "get_tenant_id",
    "get_user_id",
    "identify",
    "inject",
    "new_session_id",
    "prepare_request_headers",
    "process_session_id",
    "request_spec",
    "require",
    "restore",
    "rotate_session_id",
    "scoped_iter",
    "session_context",
    "session_spec",
    "set_session_context",
    "set_session_id",
    "subscribe",
    "tenant_spec",
    "use_policy",
    "user_spec",
    "without",
]


def __getattr__(name: str) -> Any:
    # concurrent.futures is heavy, and most who import us need no pool.
    if name in ("ContextThreadPoolExecutor", "carry"):
        from idlanyard import _carrying

        return getattr(_carrying, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
