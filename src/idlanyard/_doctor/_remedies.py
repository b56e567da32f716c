"""
The lines that install the middleware, for each framework.
"""

from __future__ import annotations

from typing import Final

_FRAMEWORK: Final = {
    "fastapi": """\
from idlanyard.integrations.fastapi import install

app = FastAPI()
install(app)""",
    "starlette": """\
from idlanyard.integrations.starlette import install

app = Starlette()
install(app)""",
    "flask": """\
from idlanyard.integrations.flask import IDLanyard

app = Flask(__name__)
IDLanyard(app)""",
    "django": """\
MIDDLEWARE = [
    "idlanyard.integrations.django.SessionContextMiddleware",
    # ... the lines that you have
]""",
    "asgi": """\
from idlanyard.asgi import SessionContextMiddleware

app = SessionContextMiddleware(app)""",
    "wsgi": """\
from idlanyard.wsgi import SessionContextMiddleware

app = SessionContextMiddleware(app)""",
}


def list_mending_lines(framework: str) -> list[str]:
    """
    Return the lines to write, for one of the frameworks or protocols.
    """
    return _FRAMEWORK[framework].splitlines()
