"""
The integrations as applications use them. Never run: mypy and pyright read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from flask import Flask
from starlette.applications import Starlette

from idlanyard import Policy, SessionContext
from idlanyard.integrations import django, fastapi, flask, starlette

starlette_app = Starlette()
assert_type(starlette.install(starlette_app), Callable[[], None])
starlette.install(starlette_app, policy=Policy())
starlette.install("app")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

fastapi_app = FastAPI()
undo = fastapi.install(fastapi_app, Policy())
undo()


def current_user() -> dict[str, str]:
    """
    A dependency of the application's.
    """
    return {"sub": "alice"}


User = Annotated[dict[str, str], Depends(fastapi.identified(current_user))]


@fastapi_app.get("/")
def endpoint(
    session: fastapi.SessionID,
    user: fastapi.UserID,
    tenant: fastapi.TenantID,
    required: fastapi.RequiredUserID,
    context: fastapi.CurrentContext,
    account: User,
) -> None:
    """
    An endpoint with every parameter there is.
    """
    assert_type(session, str | None)
    assert_type(user, str | None)
    assert_type(tenant, str | None)
    assert_type(required, str)
    assert_type(context, SessionContext)
    assert_type(account, dict[str, str])


flask_app = Flask("app")
ids = flask.IDLanyard(flask_app, Policy(), user_loader=lambda: None)
flask.IDLanyard(policy=Policy()).init_app(flask_app)
assert_type(flask.current_context, SessionContext)
flask.IDLanyard(policy={"TRUSTED_PEERS": []})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Authentication:
    """
    An authentication class of Django REST framework.
    """

    def authenticate(self, request: Any) -> Any: ...


assert_type(django.identified(Authentication), type[Authentication])
django.SessionContextMiddleware(lambda request: request)
django.IdentifyUserMiddleware(lambda request: request)
