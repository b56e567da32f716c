"""
A service that believes a user for a signature, whoever calls it.

    python examples/verifying_service.py 8000

``SIGNING_KEYS`` holds the keys that are accepted, separated by commas. The service that
signs is ``examples/signing_gateway.py``.
"""

from __future__ import annotations

import os
import sys

from flask import Flask
from waitress import serve

from idlanyard import Policy, get_session_context, user_spec
from idlanyard.integrations.flask import IDLanyard
from idlanyard.signing import SignedHeader

PORT = int(sys.argv[1])
SIGNED = SignedHeader(
    "X-Signed-User-ID",
    field="user_id",
    keys=os.environ["SIGNING_KEYS"].split(","),
    audience=f"http://127.0.0.1:{PORT}",
)

app = Flask(__name__)
IDLanyard(app, Policy(user=user_spec(sources=[SIGNED], required=True), tenant=None))


@app.get("/invoices")
def invoices() -> dict[str, str]:
    context = get_session_context()
    return {**context.as_dict(), "user_is": str(context.provenance("user_id"))}


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=PORT)
