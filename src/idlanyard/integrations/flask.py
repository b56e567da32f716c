"""
Flask: the ``IDLanyard`` extension, and ``current_context``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from flask import Flask, Response, has_request_context, request
from werkzeug.local import LocalProxy

from idlanyard import _failures
from idlanyard._binding.logins import identify_login
from idlanyard._binding.reading import get_session_context
from idlanyard._binding.snapshot import SessionContext
from idlanyard._binding.state import RequestContext, RequestIDs
from idlanyard._policy.policy import Policy, refuse_options, require_policy
from idlanyard._policy.settings import policy_from_settings
from idlanyard.exceptions import IDLanyardError, PolicyError
from idlanyard.integrations.custom import current_request, is_bound
from idlanyard.wsgi import KEY, SessionContextMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["IDLanyard", "current_context"]

_NAME: Final = "idlanyard"
_PREFIX: Final = "IDLANYARD_"
_LOADED: Final = "idlanyard._loaded_user"
_REMEDY: Final = "let user_loader return the ID or None, as in lambda: current_user.get_id()"

UserLoader = Callable[[], Any]


class IDLanyard:
    """
    Bind IDs for every request of one or more Flask applications.

    Args:
        app: the application; left out, call ``init_app`` for each.
        policy: the rules. Left out, those in ``app.config``: the fields of
            ``Policy`` in capitals, as in ``IDLANYARD_TRUSTED_PEERS`` and
            ``IDLANYARD_SESSION``; and without any, ``Policy.from_env()``.
        user_loader: returns the current user's ID or ``None``, for Flask-Login
            ``lambda: current_user.get_id()``. It is called before the view and
            once more after it, so that the response to a login has the new
            user ID. It returns text, a number or a UUID. If it returns
            anything else or an ID that is refused, or raises an error, the
            reason is logged once, and the request goes on without a user ID,
            also if a proxy has sent one. ``None`` leaves the user ID as it is.

    Raises:
        IDLanyardError: *app* has another policy already.
        PolicyError: the configuration or the environment describes no policy,
            or a name in the configuration begins as ours do and is no option.
        TypeError: an argument has the wrong type, or an option of ``Policy``
            is passed here.
    """

    __slots__ = ("_policy", "_user_loader")

    @refuse_options("IDLanyard(app, {})")
    def __init__(
        self,
        app: Flask | None = None,
        policy: Policy | None = None,
        user_loader: UserLoader | None = None,
    ) -> None:
        if policy is not None:
            require_policy(policy)
        if user_loader is not None and not callable(user_loader):
            raise TypeError("user_loader is a function that returns the user's ID or None")
        self._policy = policy
        self._user_loader = user_loader
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """
        Wrap *app* in the middleware; a second time with the same rules does nothing.

        Args:
            app: the application with its configuration loaded. A setting that
                is changed later is not read, which is logged at the first
                request.

        Raises:
            IDLanyardError: *app* has another policy already.
            PolicyError: the configuration or the environment describes no
                policy, or a name in the configuration begins as ours do and
                is no option.
            TypeError: *app* is no Flask application.
        """
        if not isinstance(app, Flask):
            raise TypeError(f"init_app takes the Flask application, not {type(app).__name__}")
        policy = self._policy or _policy_from_config(app)
        mine = policy, self._user_loader
        installed = app.extensions.setdefault(_NAME, mine)
        if installed != mine:
            raise IDLanyardError(
                "this application has IDs under another policy or user_loader already: make one "
                "IDLanyard with both, and call its init_app only"
            )
        if installed is not mine:
            return
        middleware = SessionContextMiddleware(app.wsgi_app, policy)
        _report_unread(app, middleware, _our_settings(app) if self._policy is None else None)
        app.wsgi_app = middleware  # type: ignore[method-assign]
        if self._user_loader is not None:
            _identify_users(app, self._user_loader)


def _our_settings(app: Flask) -> dict[str, Any]:
    """
    Return the settings whose names begin with ours, in any spelling.
    """
    config: dict[str, Any] = dict(app.config)
    return {key: value for key, value in config.items() if _is_our_name(key)}


def _is_our_name(key: object) -> bool:
    return str(key).upper().replace("_", "").replace("-", "").startswith(_NAME.upper())


def _policy_from_config(app: Flask) -> Policy:
    settings = _our_settings(app)
    if not settings:
        return Policy.from_env()
    for key, value in settings.items():
        if not key.startswith(_PREFIX):
            raise PolicyError(
                f"{key} is no option: write {_suggest_setting(key, value)}", option=key
            )
    return _policy_of({key.removeprefix(_PREFIX): value for key, value in settings.items()})


def _policy_of(options: Mapping[str, Any]) -> Policy:
    return policy_from_settings(options, written=f"{_PREFIX}{{}}")


def _suggest_setting(key: str, value: object) -> str:
    """
    Return the code to write in place of a setting without our prefix.

    Raises:
        PolicyError: the value would be wrong under the right name, too.
    """
    option = re.sub(r"^ID_?LANYARD_?", "", key.upper().replace("-", "_"))
    if option:
        options: Mapping[str, Any] = {option: value}
    else:
        options = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    _policy_of(options)
    names = ", ".join(f"app.config['{_PREFIX}{name}']" for name in options or ["TRUSTED_PEERS"])
    return names if option or options else f"{names}, or IDLanyard(app, policy=Policy(...))"


def _report_unread(
    app: Flask, middleware: SessionContextMiddleware, read: Mapping[str, Any] | None
) -> None:
    """
    Log at the first request which settings have been changed too late to be read.

    Args:
        app: the application.
        middleware: ours around it.
        read: the settings that were read, or ``None`` if a policy was passed.
    """
    if read is None:
        remedy = "the policy passed to IDLanyard applies: write it there, and remove it here"
    else:
        remedy = "set it before IDLanyard(app) or init_app, which has read the configuration"
    waiting = iter([read or {}])
    serve = middleware.app

    def report_and_serve(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        # Not by before_request, whose functions Flask calls for each request, and asks each time
        # whether they are async.
        # Unless the application has put a wrapper of its own around this function.
        if middleware.app is report_and_serve:
            middleware.app = serve
        for before in waiting:
            for key, value in _our_settings(app).items():
                if key not in before or before[key] != value:
                    _failures.LOGGER.warning(
                        "idlanyard: app.config[%r] is not read: %s", key, remedy
                    )
        return serve(environ, start_response)

    middleware.app = report_and_serve


def _identify_users(app: Flask, user_loader: UserLoader) -> None:
    """
    Identify the user that *user_loader* finds, before the view and after it.
    """

    def find() -> dict[str, object]:
        user = app.ensure_sync(user_loader)()
        return {} if user is None else {"user_id": user}

    def identify_user() -> None:
        # In a test that pushes a request context by hand, the user would stay bound.
        if current_request() is None:
            return
        # A user that the view itself identified stays, unless there was a login or logout since.
        request.environ[_LOADED] = identify_login(
            "user_loader",
            ["user_id"],
            find,
            remedy=_REMEDY,
            before=request.environ.get(_LOADED),
        )

    def identify_again(response: Response) -> Response:
        identify_user()
        return response

    app.before_request(identify_user)
    app.after_request(identify_again)


def _read_context() -> SessionContext:
    if not is_bound() and has_request_context():
        # A test client or a shell keeps the request context when the request is over.
        inner = request.environ.get(KEY)
        if isinstance(inner, RequestIDs):
            return RequestContext(inner)
    return get_session_context()


current_context: SessionContext = LocalProxy(_read_context)  # type: ignore[assignment]
"""
The current IDs, as ``get_session_context()`` returns them. While Flask keeps the context of
a request that is over, as a test client does, the IDs of that request.
"""
