"""
Flask: the middleware around ``wsgi_app``.

    flask --app examples/flask_app.py run --port 8000
"""

from __future__ import annotations

from flask import Flask

from idlanyard import get_session_context
from idlanyard.wsgi import SessionContextMiddleware

app = Flask(__name__)
app.wsgi_app = SessionContextMiddleware(app.wsgi_app)  # type: ignore[method-assign]


@app.get("/")
def hello() -> dict[str, str]:
    return get_session_context().as_dict()
