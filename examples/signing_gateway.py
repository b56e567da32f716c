"""
A service that knows who the user is, and vouches for the user to the service that it calls.

    uvicorn --app-dir examples signing_gateway:app

``SIGNING_KEYS`` holds the keys, the one that signs first, separated by commas;
``BILLING_URL`` is the service that it calls, ``examples/verifying_service.py``.
"""

from __future__ import annotations

import os
from typing import Annotated

import httpx2
from fastapi import Depends, FastAPI, Header, HTTPException, Response

from idlanyard.integrations import fastapi, httpx
from idlanyard.signing import Signer

BILLING = os.environ.get("BILLING_URL", "http://127.0.0.1:8001")
KEYS = os.environ["SIGNING_KEYS"].split(",")

app = FastAPI()
fastapi.install(app)
client = httpx2.AsyncClient(base_url=BILLING)
httpx.install(client, to=[BILLING], sign=Signer(keys=KEYS))


def current_user(authorization: Annotated[str | None, Header()] = None) -> str | None:
    """
    Return the user of a token, as a login would; nobody without one.
    """
    if authorization is None:
        return None
    if authorization != "Bearer alice-s":
        raise HTTPException(401)
    return "alice"


@app.get("/invoices", dependencies=[Depends(fastapi.identified(current_user))])
async def invoices() -> Response:
    answer = await client.get("/invoices")
    return Response(answer.content, answer.status_code, media_type="application/json")
