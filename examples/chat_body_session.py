"""
A chat: tenant and user arrive in headers from the proxy, the session in the JSON
body, which the middleware never reads. The endpoint identifies the session, so
that it is on the response, in the log lines and in the function that asks the
model. A first turn has no session, or an empty one: the middleware's own ID stays
and is the session from then on. A value that is no ID is answered with 422.

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
    The JSON body of a request.
    """

    session_id: str | None = None
    text: str


async def ask_model(text: str) -> str:
    """
    Answer as a model would; the IDs of the conversation are current here as well.
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
    # A session ID is no permission: the key has tenant and user, too.
    turns = conversations.setdefault((tenant, user, require("session_id")), [])
    turns.append(message.text)
    answer = await ask_model(message.text)
    return {"answer": answer, "turns": len(turns)} | get_session_context().as_dict()
