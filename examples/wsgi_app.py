"""
A plain WSGI application.

    python examples/wsgi_app.py 8000
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from idlanyard import get_session_context
from idlanyard.wsgi import SessionContextMiddleware


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(get_session_context().as_dict()).encode()]


app = SessionContextMiddleware(hello)

if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
