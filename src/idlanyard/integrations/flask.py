"""
Flask: the ``IDLanyard`` extension, and ``current_context``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

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
        user_loader: returns the current user's ID or ``None``, as Flask-Login
            knows it: ``lambda: current_user.get_id()``. It is called before
            the view and once more after it, so that the response to a login
            names who has logged in. It returns text, a number or a UUID.
            Anything else, an ID that is refused, and an error that it raises
            leave nobody's name: the reason is logged once, and the request
            goes on without a user ID, whatever a proxy has said before.
            ``None`` leaves the user ID as it is.

    Raises:
        IDLanyardError: *app* has another policy already.
        PolicyError: configuration or environment describe no policy, or the
            configuration has ``IDLANYARD`` or another name of ours that is none.
        TypeError: an argument is something else, or the policy's options
            are given here, which ``Policy(...)`` takes.
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
        Put the middleware around *app*; a second time with the same rules does nothing.

        Args:
            app: with its configuration loaded; what is set later is not
                read, which is logged at the first request.

        Raises:
            IDLanyardError: *app* has another policy already.
            PolicyError: configuration or environment describe no policy, or
                the configuration has a name of ours that is none.
            TypeError: it is no Flask application.
        """
        if not isinstance(app, Flask):
            raise TypeError(f"init_app takes the Flask application, not {type(app).__name__}")
        policy = self._policy or _configured(app)
        mine = policy, self._user_loader
        installed = app.extensions.setdefault(_NAME, mine)
        if installed != mine:
            raise IDLanyardError(
                "this application has IDs under another policy or user_loader already: make one "
                "IDLanyard with both, and call its init_app only"
            )
        if installed is not mine:
            return
        app.wsgi_app = SessionContextMiddleware(app.wsgi_app, policy)  # type: ignore[method-assign]
        _report_unread(app, _settings_of(app) if self._policy is None else None)
        if self._user_loader is not None:
            _name_users(app, self._user_loader)


def _settings_of(app: Flask) -> dict[str, Any]:
    """
    Return the part of the configuration that is meant for us, however it is spelt.
    """
    config: dict[str, Any] = dict(app.config)
    return {key: value for key, value in config.items() if _is_ours(key)}


def _is_ours(key: object) -> bool:
    return str(key).upper().replace("_", "").replace("-", "").startswith(_NAME.upper())


def _configured(app: Flask) -> Policy:
    settings = _settings_of(app)
    if not settings:
        return Policy.from_env()
    for key, value in settings.items():
        if not key.startswith(_PREFIX):
            raise PolicyError(f"{key} is no option: write {_spelt(key, value)}", option=key)
    return _policy_of({key.removeprefix(_PREFIX): value for key, value in settings.items()})


def _policy_of(options: Mapping[str, Any]) -> Policy:
    return policy_from_settings(options, written=f"{_PREFIX}{{}}")


def _spelt(key: str, value: object) -> str:
    """
    Return what to write in the place of a key without our prefix.

    Raises:
        PolicyError: what it says could not be followed under the right key either.
    """
    option = re.sub(r"^ID_?LANYARD_?", "", key.upper().replace("-", "_"))
    if option:
        options: Mapping[str, Any] = {option: value}
    else:
        options = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    _policy_of(options)
    names = ", ".join(f"app.config['{_PREFIX}{name}']" for name in options or ["TRUSTED_PEERS"])
    return names if option or options else f"{names}, or IDLanyard(app, policy=Policy(...))"


def _report_unread(app: Flask, read: Mapping[str, Any] | None) -> None:
    """
    Log at the first request which settings nobody has read.

    Args:
        app: the application.
        read: the settings that were read, or ``None`` where a policy was given.
    """
    if read is None:
        remedy = "the policy given to IDLanyard is in force: say it there, and take this out"
    else:
        remedy = "set it before IDLanyard(app) or init_app, which has read the configuration"
    waiting = iter([read or {}])

    def report() -> None:
        before = next(waiting, None)
        if before is None:
            return
        for key, value in _settings_of(app).items():
            if key not in before or before[key] != value:
                _failures.LOGGER.warning("idlanyard: app.config[%r] is not read: %s", key, remedy)

    app.before_request(report)


def _name_users(app: Flask, user_loader: UserLoader) -> None:
    """
    Identify the user whom *user_loader* finds, before the view and after it.
    """

    def find() -> dict[str, object]:
        user = app.ensure_sync(user_loader)()
        return {} if user is None else {"user_id": user}

    def identify_user() -> None:
        # A test that pushes a request context by hand would stay bound to its user.
        if current_request() is None:
            return
        # What the view says itself stands, unless somebody came or went meanwhile.
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


def _context() -> SessionContext:
    if not is_bound() and has_request_context():
        # Kept by a test client or a shell after the request itself is over.
        inner = request.environ.get(KEY)
        if isinstance(inner, RequestIDs):
            return RequestContext(inner)
    return get_session_context()


current_context: SessionContext = LocalProxy(_context)  # type: ignore[assignment]
"""
What is in force, as ``get_session_context()`` says; where Flask keeps the
context of a request that is over, as a test client does, what that request had.
"""
