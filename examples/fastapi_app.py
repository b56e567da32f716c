"""
FastAPI: the middleware around the whole application, so that a 404 and an
unhandled 500 carry the IDs as well. A proxy on this machine is believed.

    uvicorn --app-dir examples --no-proxy-headers fastapi_app:app
"""

from __future__ import annotations

from fastapi import Depends, FastAPI

from idlanyard import Policy, get_session_context, identify, require
from idlanyard.asgi import SessionContextMiddleware

api = FastAPI()


def current_user() -> None:
    """
    Stands for a login; it may run in a worker thread and still names the user.
    """
    identify(user_id="alice")


@api.get("/")
def hello() -> dict[str, str]:
    return get_session_context().as_dict()


@api.get("/me", dependencies=[Depends(current_user)])
async def me() -> dict[str, str]:
    return {"user": require("user_id")}


app = SessionContextMiddleware(api, Policy(trusted_peers=["127.0.0.1"]))
