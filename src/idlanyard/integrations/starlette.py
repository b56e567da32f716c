"""
Starlette: ``install(app)`` puts the middleware around the whole application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Router

from idlanyard._binding.state import RequestContext, RequestIDs
from idlanyard._policy.policy import Policy, policy_of, refuse_options
from idlanyard.asgi import KEY, ASGIApp, SessionContextMiddleware
from idlanyard.exceptions import IDLanyardError
from idlanyard.integrations.custom import report_failure

__all__ = ["install"]

_INSTALLED: Final = "_idlanyard_policy"


@refuse_options("install(app, {})")
def install(app: Starlette, policy: Policy | None = None) -> Callable[[], None]:
    """
    Bind IDs for every request of *app*, outside of all other middleware.

    *app* keeps its type, and middleware may still be added. All responses have
    the echo, also an unhandled 500. The IDs are in
    ``request.state.session_context``. Installing the same policy again does
    nothing.

    Args:
        app: an application that has not started yet.
        policy: the rules; left out, ``Policy.from_env()``.

    Returns:
        A function that undoes this.

    Raises:
        IDLanyardError: *app* has started, or has another policy.
        PolicyError: the environment describes no policy.
        TypeError: *app* or *policy* has the wrong type, or an option of
            ``Policy`` is passed here.
    """
    policy = _check_arguments(app, policy)
    installed = _find_installation(app)
    if installed is not None and installed.policy == policy:
        return installed.undo
    _refuse_late(app, installed)
    installation = _Installation(app, policy)
    setattr(app, _INSTALLED, installation)
    app.build_middleware_stack = installation.build  # type: ignore[method-assign]
    return installation.undo


class _Installation:
    """
    A wrapper around the function by which an application builds its middleware stack.
    """

    __slots__ = ("_app", "_build", "build", "policy", "undo")

    def __init__(self, app: Starlette, policy: Policy) -> None:
        self.policy = policy
        self._app = app
        self._build = app.build_middleware_stack
        # Stored, since each access to a method makes a new object, and these are compared.
        self.build = self._build_stack
        self.undo = self._take_back

    def _build_stack(self) -> ASGIApp:
        stack = self._build()
        if _find_installation(self._app) is not self:
            return stack
        return _Outermost(SessionContextMiddleware(_WithState(stack), self.policy))

    def _take_back(self) -> None:
        app = self._app
        if _find_installation(app) is not self:
            return
        delattr(app, _INSTALLED)
        # A wrapper that was put around ours since then stays: ours then adds nothing.
        if app.__dict__.get("build_middleware_stack") is self.build:
            app.build_middleware_stack = self._build  # type: ignore[method-assign]
        if app.middleware_stack is not None:
            app.middleware_stack = app.build_middleware_stack()


def _check_arguments(app: Starlette, policy: Policy | None) -> Policy:
    if not isinstance(app, Starlette):
        raise TypeError(
            f"install takes the Starlette or FastAPI application, not {type(app).__name__}: "
            f"{_instead_of(app)}"
        )
    return policy_of(policy)


def _instead_of(given: object) -> str:
    """
    Return the code to write if *given* is not the application.
    """
    if isinstance(given, type):
        return "write install(app) for the application that was made of it"
    if isinstance(given, Router):
        return "write install(app) for the application that has the router"
    if isinstance(given, Policy):
        return "write install(app, policy)"
    if type(given).__module__.partition(".")[0] == "flask":
        return "write from idlanyard.integrations.flask import IDLanyard"
    return "call it before the application is wrapped in anything"


def _find_installation(app: Starlette) -> _Installation | None:
    found: _Installation | None = app.__dict__.get(_INSTALLED)
    return found


def _refuse_late(app: Starlette, installed: _Installation | None) -> None:
    if installed is not None:
        raise IDLanyardError(
            "this application has IDs under another policy already: install one policy, or call "
            "what the first install returned before the second"
        )
    if app.middleware_stack is not None:
        raise IDLanyardError(
            "this application has started, and its middleware is built: call install(app) where "
            "the application is made, before its first request and its lifespan"
        )


class _Outermost(ServerErrorMiddleware):
    """
    The outermost layer, of the class that instrumentations look for.

    OpenTelemetry rebuilds the stack from its ``app``, ``handler`` and
    ``debug``. Errors are answered by the application's own layer, inside.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class _WithState:
    """
    The application, with the current IDs in the state of each request.
    """

    __slots__ = ("app",)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        inner = scope.get(KEY)
        if isinstance(inner, RequestIDs):
            try:
                _put_into_state(scope, inner)
            except Exception as error:
                report_failure("request.state", error)
        await self.app(scope, receive, send)


def _put_into_state(scope: Any, inner: RequestIDs) -> None:
    """
    Put the IDs into a state of this request alone, once if applications are nested.
    """
    state: Any = scope.get("state", {})
    found = state.get("session_context")
    if not (isinstance(found, RequestContext) and found.reads_from(inner)):
        # Hypercorn 0.17 hands one dictionary to every request of an HTTP/2 connection:
        # each read the session of the request that came last.
        scope["state"] = {**state, "session_context": RequestContext(inner)}
