"""
Session, user and tenant IDs that travel with a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard._binding.blocks import scoped_iter, session_context, without
from idlanyard._binding.carriers import dump, extract, restore
from idlanyard._binding.changing import (
    clear_session_context,
    clear_session_id,
    forget_session_id,
    identify,
    new_session_id,
    rotate_session_id,
    set_session_context,
    set_session_id,
)
from idlanyard._binding.events import subscribe
from idlanyard._binding.functions import bind
from idlanyard._binding.outgoing import inject, prepare_request_headers
from idlanyard._binding.reading import (
    effective_session_id,
    get_id,
    get_session_context,
    get_session_id,
    get_tenant_id,
    get_user_id,
    process_session_id,
    require,
    session_key,
)
from idlanyard._binding.snapshot import UNSET, SessionContext
from idlanyard._binding.state import use_policy
from idlanyard._policy.admission import Admission
from idlanyard._policy.default_specs import request_spec, session_spec, tenant_spec, user_spec
from idlanyard._policy.peers import EVERYONE
from idlanyard._policy.policy import Policy
from idlanyard._policy.server_sources import Environ, Scope
from idlanyard._policy.sources import Baggage, Cookie, Header, PathPrefix, Query, Subdomain
from idlanyard._policy.spec import IDSpec
from idlanyard.exceptions import IDLanyardError, MissingID, PolicyError, UntrustedID
from idlanyard.ids import Provenance

if TYPE_CHECKING:
    from idlanyard._binding.threads import ContextThreadPoolExecutor, carry

__version__ = "1.0.0"

__all__ = [
    "EVERYONE",
    "UNSET",
    "Admission",
    "Baggage",
    "ContextThreadPoolExecutor",
    "Cookie",
    "Environ",
    "Header",
    "IDLanyardError",
    "IDSpec",
    "MissingID",
    "PathPrefix",
    "Policy",
    "PolicyError",
    "Provenance",
    "Query",
    "Scope",
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
    "forget_session_id",
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
    "session_key",
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
    # concurrent.futures is slow to import, and most applications need no pool.
    if name in ("ContextThreadPoolExecutor", "carry"):
        from idlanyard._binding import threads

        return getattr(threads, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
