"""
The session registry over HTTP: a FastAPI application in which other systems assign
session IDs, each user sees his own sessions, and input is answered in the session.
The proxy on this machine says who the user is.

    uvicorn --app-dir examples --no-proxy-headers registry_app:app
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
from idlanyard.registry.http import SessionRequest

folder = TemporaryDirectory()
sessions = AsyncSessionRegistry.open(f"sqlite:///{Path(folder.name, 'sessions.db')}", ttl=86_400)
log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with sessions:
        yield
    folder.cleanup()


def is_own(request: SessionRequest) -> bool:
    """
    Let users create sessions in their own name, and reach no others.
    """
    user = get_user_id()
    if user is None:
        return False
    if request.action == "create":
        return request.body.get("client_id") == user
    return request.record is not None and request.record.client_id == user


async def answer(record: SessionRecord, body: dict[str, Any]) -> dict[str, Any]:
    """
    Stands for a conversation.
    """
    log.info("input in session %s", get_session_id())
    return {"session_id": record.session_id, "heard": body.get("user_input")}


app = FastAPI(lifespan=lifespan)
app.include_router(sessions_router(sessions, on_input=answer, authorize=is_own), prefix="/api/v1")
install(app, Policy(trusted_peers=["127.0.0.1"]))
