"""
Flask: tenant and user arrive in headers from the proxy, the session in the JSON body,
which the middleware never reads. If the body has no session, the middleware's own ID
stays; it is echoed and is the session from then on. A value that is no session ID is
answered with 400. A user ID that did not come from the proxy never reaches the view.

    flask --app examples/flask_body_app.py run --port 8000
"""

from __future__ import annotations

from flask import Flask, request
from werkzeug.exceptions import BadRequest

from idlanyard import Policy, get_session_context, identify, require, tenant_spec, user_spec
from idlanyard.integrations.flask import IDLanyard

app = Flask(__name__)
IDLanyard(
    app,
    Policy(
        user=user_spec(required=True),
        tenant=tenant_spec(required=True),
        trusted_peers=["127.0.0.1"],
    ),
)
conversations: dict[tuple[str, str, str], list[str]] = {}


def ask_model(text: str) -> str:
    """
    Answer as a model would; the IDs of the conversation are current here as well.
    """
    app.logger.warning("asking the model for %s", get_session_context())
    return text.upper()


@app.post("/chat")
def chat() -> dict[str, object]:
    body = request.get_json()
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        raise BadRequest("the body is a JSON object with a message")
    try:
        # None and "" mean "not given". Text that is no ID is a ValueError, a number a TypeError.
        identify(session_id=body.get("session_id"))
    except (TypeError, ValueError) as error:
        raise BadRequest(str(error)) from error
    # A session ID is no permission: the key has tenant and user, too.
    owner = require("tenant_id"), require("user_id"), require("session_id")
    turns = conversations.setdefault(owner, [])
    turns.append(body["message"])
    answer = ask_model(body["message"])
    return {"response": answer, "turns": len(turns)} | get_session_context().as_dict()
