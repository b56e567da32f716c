"""
Flask: tenant and user come in headers from the proxy, the session in the JSON body,
which the middleware never reads. A body without a session keeps the middleware's own,
which is echoed and names the conversation from then on. What is no session ID is
answered 400, and what a stranger says of a user never reaches the view.

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
    Stands for the model; it sees the IDs of the conversation without being told.
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
    # A session ID is no permission: what it opens belongs to this tenant and user.
    owner = require("tenant_id"), require("user_id"), require("session_id")
    turns = conversations.setdefault(owner, [])
    turns.append(body["message"])
    answer = ask_model(body["message"])
    return {"response": answer, "turns": len(turns)} | get_session_context().as_dict()
