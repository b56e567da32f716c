"""
FastAPI: ``install`` on the application, so that a 404 and an unhandled 500 have
the IDs as well. A proxy on this machine is trusted; a login identifies its user.

    uvicorn --app-dir examples --no-proxy-headers fastapi_app:app
"""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException

from idlanyard import Policy, get_session_context
from idlanyard.integrations.fastapi import CurrentContext, RequiredUserID, identified, install

app = FastAPI()
install(app, Policy(trusted_peers=["127.0.0.1"]))
log = logging.getLogger("uvicorn.error")


def current_user(authorization: Annotated[str | None, Header()] = None) -> str:
    """
    Return the user of a token, as a login would.
    """
    if authorization != "Bearer alice-s":
        raise HTTPException(401)
    return "alice"


@app.get("/")
def hello(context: CurrentContext) -> dict[str, str]:
    log.info("hello, %s", get_session_context())
    return context.as_dict()


@app.get("/me", dependencies=[Depends(identified(current_user))])
async def me(user_id: RequiredUserID) -> dict[str, str]:
    return {"user": user_id}


@app.get("/boom")
def boom() -> None:
    raise RuntimeError("nobody handles this")
