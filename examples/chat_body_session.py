"""
A chat: tenant and user come in headers from the proxy, the session in the JSON
body, which the middleware never reads. The endpoint names it for the request,
so that it is on the response, in the log lines and wherever the model is asked.
A first turn has none, or an empty one: the middleware's own ID stays and names
the conversation from then on. A value that is no ID is answered 422.

    uvicorn --app-dir examples --no-proxy-headers chat_body_session:app
"""

from __future__ import annotations

import logging

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from idlanyard import Policy, get_session_context, identify, require, tenant_spec, user_spec
from idlanyard.integrations.fastapi import RequiredTenantID, RequiredUserID, install

app = FastAPI()
install(
    app,
    Policy(
        user=user_spec(required=True),
        tenant=tenant_spec(required=True),
        trusted_peers=["127.0.0.1"],
    ),
)
log = logging.getLogger("uvicorn.error")
conversations: dict[tuple[str, str, str], list[str]] = {}


class Message(BaseModel):
    """
    What the client posts.
    """

    session_id: str | None = None
    text: str


async def ask_model(text: str) -> str:
    """
    Stands for the model; it sees the IDs of the conversation without being told.
    """
    log.info("asking the model for %s", get_session_context())
    return text.upper()


@app.post("/chat")
async def chat(
    message: Message, tenant: RequiredTenantID, user: RequiredUserID
) -> dict[str, object]:
    try:
        identify(session_id=message.session_id)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    # A session ID is no permission: what it opens belongs to this tenant and user.
    turns = conversations.setdefault((tenant, user, require("session_id")), [])
    turns.append(message.text)
    answer = await ask_model(message.text)
    return {"answer": answer, "turns": len(turns)} | get_session_context().as_dict()
