"""
The list of all checks, in the order of the table.
"""

from __future__ import annotations

from typing import Final

from idlanyard._doctor._checks import (
    _browsers,
    _log_lines,
    _senders,
    _session,
    _surroundings,
)
from idlanyard._doctor._checks._finding import Check

CHECKS: Final = (
    Check("order", "the middleware is outermost", _surroundings.judge_order),
    Check("policy", "the policy in words", _senders.judge_policy),
    Check("mint", "a request without an ID gets one", _session.judge_mint),
    Check("read", "the ID of a request is taken", _session.judge_read),
    Check("echo-200", "the ID is on a 200", _session.judge_status(200)),
    Check("echo-404", "the ID is on a 404", _session.judge_status(404)),
    Check("echo-405", "the ID is on a 405", _session.judge_status(405)),
    Check("echo-500", "the ID is on an unhandled 500", _session.judge_status(500)),
    Check("echo-stream", "the ID is on a stream", _session.judge_stream),
    Check("echo-websocket", "the ID is on a WebSocket", _session.judge_websocket),
    Check("doubled", "no header of ours is there twice", _session.judge_doubled),
    Check("exposure", "scripts may read the ID (CORS)", _browsers.judge_exposure),
    Check("preflight", "scripts may send the ID (CORS)", _browsers.judge_preflight),
    Check("caches", "no shared cache keeps the ID", _browsers.judge_caches),
    Check("spoofed-user", "a stranger names no user", _senders.judge_spoofed_user),
    Check("aliases", "X_User_ID is not X-User-ID", _senders.judge_aliases),
    Check("duplicates", "two IDs are no ID", _session.judge_duplicates),
    Check("trailers", "no header comes after the body", _senders.judge_trailers),
    Check("peer", "the peer is the peer", _senders.judge_peer),
    Check("conflation", "the server keeps names apart", _senders.judge_conflation),
    Check("context", "nothing is left for the next request", _surroundings.judge_context),
    Check("access-lines", "access lines have the ID", _log_lines.judge_access_lines),
    Check("error-lines", "error lines have the ID", _log_lines.judge_error_lines),
    Check("framework-lines", "the framework's lines have the ID", _log_lines.judge_framework_lines),
    Check("outgoing", "IDs go to listed hosts only", _surroundings.judge_outgoing),
)
