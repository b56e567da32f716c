"""
The session registry over HTTP: a FastAPI application in which other systems assign
session IDs, and input is answered in the session. The proxy on this machine says who
the user is.

Permissions:

- A user, named by the proxy's X-User-ID, owns the sessions that they create, also if they
  send another ``client_id``. Only the owner reads, changes and ends a session or sends it
  input.
- A caller without a proven user creates sessions without an owner. Anybody who knows the
  ID of such a session may send it input, and nothing else. Return ``False`` for
  ``user is None`` if your service is for users only.

    uvicorn --app-dir examples --no-proxy-headers --port 8090 registry_app:app

    curl -X POST http://localhost:8090/api/v1/session/create \
      -H "Content-Type: application/json" -d '{"session_id": "my_custom_session_001"}'
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI

from idlanyard import Policy, get_session_id, get_user_id
from idlanyard.integrations.fastapi import install
from idlanyard.registry import AsyncSessionRegistry, SessionRecord
from idlanyard.registry.fastapi import sessions_router
from idlanyard.registry.http import Grant, SessionRequest

DAY = 86_400
folder = TemporaryDirectory()
sessions = AsyncSessionRegistry.open(f"sqlite:///{Path(folder.name, 'sessions.db')}")
log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with sessions:
        yield
    folder.cleanup()


def authorize(request: SessionRequest) -> bool | Grant:
    """
    Allow users their own sessions, and other callers input to sessions without an owner.
    """
    user = get_user_id()
    if request.action == "create":
        # Without a user, client_id is None: the session has no owner, also if the body names one.
        return Grant(client_id=user, ttl=DAY)
    if request.record is None or request.record.client_id != user:
        return False
    if user is None:
        return request.action == "input"
    # Only the server decides how long a session lives.
    return not (request.action == "update" and "ttl" in request.body)


async def answer(record: SessionRecord, body: dict[str, Any]) -> dict[str, Any]:
    """
    Answer as a conversation would.
    """
    log.info("input in session %s", get_session_id())
    return {"session_id": record.session_id, "heard": body.get("user_input")}


app = FastAPI(lifespan=lifespan)
app.include_router(
    sessions_router(sessions, on_input=answer, authorize=authorize), prefix="/api/v1"
)
install(app, Policy(trusted_peers=["127.0.0.1"]))
