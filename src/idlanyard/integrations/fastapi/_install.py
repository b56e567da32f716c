"""
``install``: the one of Starlette, the response to a missing ID, and the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from fastapi import FastAPI, Response

from idlanyard._decision.response import build_problem
from idlanyard._policy.policy import Policy, checked_policy, refuse_options
from idlanyard.integrations import starlette
from idlanyard.integrations.fastapi._parameters import MARK, RefusedID

_ADDED: Final = "_idlanyard_fastapi"


@refuse_options("install(app, {})")
def install(app: FastAPI, policy: Policy | None = None) -> Callable[[], None]:
    """
    Bind IDs for every request of *app*, outside of all other middleware.

    Like ``install`` of Starlette. In addition, the response to a missing
    required ID is a problem document, and the schema has the headers of this
    policy.

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
    if not isinstance(cast("object", app), FastAPI) and hasattr(app, "build_middleware_stack"):
        raise TypeError(
            f"install takes the FastAPI application, not {type(app).__name__}: write "
            f"from idlanyard.integrations.starlette import install"
        )
    policy = Policy.from_env() if policy is None else policy
    undo_stack = starlette.install(app, policy)
    additions: _Additions | None = app.__dict__.get(_ADDED)
    if additions is not None and additions.undo_stack is not undo_stack:
        additions.undo()
        additions = None
    if additions is None:
        additions = _Additions(app, policy, undo_stack)
        setattr(app, _ADDED, additions)
    return additions.undo


class _Additions:
    """
    The response to a missing ID, and the schema: FastAPI's additions to Starlette.
    """

    __slots__ = ("_app", "_openapi", "_specs", "openapi", "undo", "undo_stack")

    def __init__(self, app: FastAPI, policy: Policy, undo_stack: Callable[[], None]) -> None:
        self._app = app
        self._specs = checked_policy(policy).specs
        self.undo_stack = undo_stack
        self._openapi = app.openapi
        # Stored, since each access to a method makes a new object, and these are compared.
        self.openapi = self._describe
        self.undo = self._take_back
        app.exception_handlers[RefusedID] = cast("Any", _respond_to_refusal)
        app.openapi = self.openapi  # type: ignore[method-assign]

    def _take_back(self) -> None:
        app = self._app
        if app.__dict__.get(_ADDED) is not self:
            return
        delattr(app, _ADDED)
        app.exception_handlers.pop(RefusedID, None)
        if app.__dict__.get("openapi") is self.openapi:
            app.openapi = self._openapi  # type: ignore[method-assign]
            app.openapi_schema = None
        self.undo_stack()

    def _describe(self) -> dict[str, Any]:
        schema = self._openapi()
        paths = [*schema.get("paths", {}).values(), *schema.get("webhooks", {}).values()]
        for path in paths:
            for operation in path.values():
                if "parameters" in operation:
                    operation["parameters"] = self._rename_headers(operation["parameters"])
        return schema

    def _rename_headers(self, parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """
        Return the parameters with the header names of this policy, without IDs that it lacks.
        """
        named: list[dict[str, Any]] = []
        for parameter in parameters:
            name = parameter.get("schema", {}).pop(MARK, None)
            spec = self._specs.get(name)
            if spec is not None:
                parameter["name"] = parameter["schema"]["title"] = spec.header
            if name is None or spec is not None:
                named.append(parameter)
        return named


async def _respond_to_refusal(_: object, error: RefusedID) -> Response:
    """
    Return the response by which the middleware refuses a request.
    """
    _, headers, body = build_problem(error.refusal)
    return Response(body, error.refusal.status, headers)
