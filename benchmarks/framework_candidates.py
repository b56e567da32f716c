"""
What is measured inside Django and Flask: ours, the least code, and the peers.

Django's settings are the process's, so its candidates share them; each handler
is built under a MIDDLEWARE of its own. Flask's have an application each, with a
copy of the view. flask-log-request-id is left out: on Flask 3 its
``current_request_id()`` raises ImportError (``flask._app_ctx_stack`` is gone).
"""

from __future__ import annotations

import os
import types
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.module_loading import import_string
from flask import Flask, g, request
from floor import FITS_TEXT, HELD, Holder, WSGIFloor
from lanes import TRUSTING

from idlanyard.integrations.flask import IDLanyard

SESSION_ID: ContextVar[str | None] = ContextVar("session_id", default=None)
USER_ID: ContextVar[str | None] = ContextVar("user_id", default=None)
TENANT_ID: ContextVar[str | None] = ContextVar("tenant_id", default=None)

DJANGO = {
    "bare": [],
    "floor": ["framework_candidates.django_floor"],
    "idlanyard": ["idlanyard.integrations.django.SessionContextMiddleware"],
    "django-guid": ["django_guid.middleware.guid_middleware"],
    "django-log-request-id": ["log_request_id.middleware.RequestIDMiddleware"],
}
# What a peer's import connects to request_finished, for the whole process.
CLEARING = {
    "django-guid": "django_guid.signals.clear_guid",
    "django-log-request-id": "log_request_id.middleware._clear_request_id",
}

# As the middlewares of a new project write them.
DEFAULTS = {
    "X-Frame-Options": "DENY",
    "Content-Length": "2",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NEVER = {
    "Expires": "Thu, 26 Nov 2026 11:00:00 GMT",
    "Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private",
}
TOKEN = "Jm3xq0Vw9cJm3xq0Vw9cJm3xq0Vw9c22"
DJANGO_PAGES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "page": (DEFAULTS, {}),
    "form": (DEFAULTS | {"Vary": "Cookie"}, {"csrftoken": TOKEN, "sessionid": TOKEN}),
    "never_cache": (NEVER | DEFAULTS | {"Vary": "Cookie"}, {"csrftoken": TOKEN}),
}
"""
The headers and the cookies of a page without a session, of one with a form and a
session, and of one that no cache may store, such as the admin's.
"""


def make_view(headers: dict[str, str], cookies: dict[str, str]) -> Callable[[Any], HttpResponse]:
    """
    Return a view that writes these headers and cookies.
    """

    def view(request: Any) -> HttpResponse:
        response = HttpResponse(b"hi")
        for name, value in headers.items():
            response.headers[name] = value
        for name, value in cookies.items():
            response.set_cookie(name, value)
        return response

    return view


urlpatterns = [path(name, make_view(*page)) for name, page in DJANGO_PAGES.items()]


def django_floor(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    The least Django code that is right: read, check, mint, bind, echo; no trust rules.
    """

    def middleware(request: Any) -> Any:
        sent = request.META
        session = sent.get("HTTP_X_SESSION_ID")
        if session is None or not FITS_TEXT(session):
            session = os.urandom(16).hex()
        user = sent.get("HTTP_X_USER_ID")
        if user is not None and not FITS_TEXT(user):
            user = None
        tenant = sent.get("HTTP_X_TENANT_ID")
        if tenant is not None and not FITS_TEXT(tenant):
            tenant = None
        held = Holder()
        held.session, held.user, held.tenant = session, user, tenant
        token = HELD.set(held)
        try:
            response = get_response(request)
        finally:
            HELD.reset(token)
        headers = response.headers
        headers["X-Session-ID"] = session
        if user is not None:
            headers["X-User-ID"] = user
        if tenant is not None:
            headers["X-Tenant-ID"] = tenant
        return response

    return middleware


class DjangoHandler(WSGIHandler):
    """
    A handler with one candidate in MIDDLEWARE.

    Attributes:
        clearing: the receiver that clears up after each of its requests;
            connected only while it is measured, so that no other pays for it.
    """

    def __init__(self, name: str) -> None:
        with override_settings(MIDDLEWARE=DJANGO[name]):
            super().__init__()
        self.clearing = import_string(CLEARING[name]) if name in CLEARING else None
        if self.clearing is not None:
            request_finished.disconnect(self.clearing)


def django_handlers() -> dict[str, DjangoHandler]:
    """
    Return a handler for each of Django's candidates; configures Django, so once a process.
    """
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="framework_candidates",
        INSTALLED_APPS=["django_guid"],
        SECRET_KEY="of this benchmark",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        IDLANYARD=TRUSTING,
        DJANGO_GUID={"GUID_HEADER_NAME": "X-Session-ID"},
        LOG_REQUEST_ID_HEADER="HTTP_X_SESSION_ID",
        GENERATE_REQUEST_ID_IF_NOT_IN_HEADER=True,
        REQUEST_ID_RESPONSE_HEADER="X-Session-ID",
    )
    django.setup()
    return {name: DjangoHandler(name) for name in DJANGO}


FLASK_PAGES = {
    "page": {},
    "session": {
        "Vary": "Cookie",
        "Set-Cookie": "session=eyJzZWVuIjoxfQ.aSb0xg.Jm3xq0Vw9cJm3xq0Vw9c; HttpOnly; Path=/",
    },
    "file": {
        "Content-Disposition": "inline; filename=site.css",
        "Last-Modified": "Tue, 17 Nov 2026 09:12:44 GMT",
        "Cache-Control": "no-cache",
        "ETag": '"1795000364.0-2-3386509023"',
        "Accept-Ranges": "bytes",
        "Date": "Thu, 26 Nov 2026 11:00:00 GMT",
    },
    "no-store": {"Cache-Control": "no-store", "Vary": "Cookie"},
}
"""
The headers, besides Content-Type and Content-Length, of a page, of one with a session,
of a file from the static folder, and of an API's answer that says no-store.
"""


def copied(function: Any) -> Any:
    """
    Return a function with a code object of its own.
    """
    code = function.__code__.replace(co_name=function.__name__ + "_copy")
    return types.FunctionType(code, function.__globals__)


def flask_app() -> Flask:
    """
    Return a bare Flask application with a view of its own.
    """
    app = Flask("bare")
    app.add_url_rule("/<name>", view_func=copied(show_page))
    return app


def show_page(name: str) -> tuple[bytes, dict[str, str]]:
    return b"hi", FLASK_PAGES[name]


class FlaskFloor(WSGIFloor):
    """
    The WSGI floor, which closes Flask's body as the server would.
    """

    def streamed(self, body: Any, token: Any) -> Any:
        try:
            yield from body
        finally:
            HELD.reset(token)
            body.close()


def flask_floor(app: Flask) -> None:
    app.wsgi_app = FlaskFloor(app.wsgi_app)  # type: ignore[method-assign]


def flask_hooks(app: Flask) -> None:
    """
    The recipe as people write it by hand: bind before, echo after, reset at teardown.
    """

    @app.before_request
    def bind_ids() -> None:
        headers = request.headers
        session = headers.get("X-Session-ID") or uuid.uuid4().hex
        g.session_token = SESSION_ID.set(session)
        g.user_token = USER_ID.set(headers.get("X-User-ID"))
        g.tenant_token = TENANT_ID.set(headers.get("X-Tenant-ID"))

    @app.after_request
    def echo_ids(response: Any) -> Any:
        response.headers["X-Session-ID"] = SESSION_ID.get()
        if user := USER_ID.get():
            response.headers["X-User-ID"] = user
        if tenant := TENANT_ID.get():
            response.headers["X-Tenant-ID"] = tenant
        return response

    @app.teardown_request
    def reset_ids(error: BaseException | None) -> None:
        SESSION_ID.reset(g.session_token)
        USER_ID.reset(g.user_token)
        TENANT_ID.reset(g.tenant_token)


FLASK: dict[str, Callable[[Flask], Any]] = {
    "bare": lambda app: None,
    "floor": flask_floor,
    "idlanyard": lambda app: IDLanyard(app, TRUSTING),
    "hooks recipe": flask_hooks,
}


def flask_handlers() -> dict[str, Any]:
    """
    Return ``wsgi_app`` of an application for each of Flask's candidates.
    """
    handlers = {}
    for name, install in FLASK.items():
        app = flask_app()
        install(app)
        handlers[name] = app.wsgi_app
    return handlers
