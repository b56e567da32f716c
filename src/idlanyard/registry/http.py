"""
The HTTP API of a registry as one pure handler, for a face of your own.

``SessionsHandler.handle`` takes a request and yields a ``Call`` for each verb of
the registry, ``authorize`` and ``on_input``; it is sent the result, or has the
error thrown in. The faces make the calls, each in its own way:
``idlanyard.registry.asgi``, ``.wsgi``, ``.fastapi``, ``.flask`` and ``.django``.
"""

from __future__ import annotations

from idlanyard.registry._http._handler import SessionsHandler
from idlanyard.registry._http._replies import Reply
from idlanyard.registry._http._request import Authorize, Call, Grant, OnInput, SessionRequest
from idlanyard.registry._http._routes import Action

__all__ = [
    "Action",
    "Authorize",
    "Call",
    "Grant",
    "OnInput",
    "Reply",
    "SessionRequest",
    "SessionsHandler",
]
