"""
The ``environ`` of a WSGI request: the IDs of a middleware around this one, the edited
headers, and the IDs for access logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idlanyard._binding.snapshot import Values
from idlanyard._binding.state import RequestIDs, find_request_ids
from idlanyard._decision.plan import CompiledPolicy
from idlanyard._decision.protocols import ASGI_KEY, WSGI, WSGI_KEY
from idlanyard._decision.resolve import Edits, find_open_ids
from idlanyard._policy.checked_policy import CheckedPolicy

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def find_enclosing_ids(plan: CompiledPolicy, environ: Any) -> RequestIDs | None:
    """
    Return the IDs of a middleware around this WSGI application, if there is one.

    Args:
        plan: the compiled policy of the inner middleware.
        environ: the request.
    """
    # a2wsgi 1.10 passes the ASGI scope on under this key.
    adapted: Any = environ.get("asgi.scope") or {}
    held: object = adapted.get(ASGI_KEY)
    return (
        find_open_ids(environ.get(WSGI_KEY))
        or find_open_ids(held)
        or _find_ids_across_adapter(plan, environ)
    )


def _find_ids_across_adapter(plan: CompiledPolicy, environ: Any) -> RequestIDs | None:
    """
    Return the IDs of an ASGI middleware around an adapter that runs this WSGI application.

    Adapters drop our key. That IDs are bound here proves nothing, since connections,
    pools and calls in process share a Context: they are the request's only if every
    managed header of the request is what the middleware forwards for them.
    """
    inner = find_request_ids()
    if inner is None or not inner.open or not inner.binary:
        return None
    expected: dict[str, str | None] = dict.fromkeys(plan.removable)
    for spec in inner.policy.specs.values():
        value, _ = inner.look_up(spec.name)
        expected[WSGI.key(spec.header)] = value if spec.forward else None
    if not any(expected.values()):
        return None
    same = all(environ.get(key) == value for key, value in expected.items())
    return inner if same else None


def edit_headers(environ: WSGIEnvironment, edits: Edits) -> None:
    """
    Remove and add headers of the request.
    """
    removed, added = edits
    for key in removed:
        environ.pop(key, None)
    for key, value in added:
        environ[key] = value


def publish_ids(environ: WSGIEnvironment, policy: CheckedPolicy, values: Values) -> None:
    """
    Set the keys that access logs read, and remove those of absent IDs.
    """
    for name, value in zip(policy.environ_keys, values):  # noqa: B905 - IDs come first
        if value is not None:
            environ[name] = value
        elif name in environ:
            del environ[name]
