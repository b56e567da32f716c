"""
The user that Django or an authentication class finds becomes the request's user ID.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.utils.functional import LazyObject, SimpleLazyObject, empty

from idlanyard._binding.changing import identify
from idlanyard._binding.logins import PLAIN, identify_login
from idlanyard._binding.snapshot import UNSET
from idlanyard._binding.state import RequestContext, find_request_ids

Authentication = TypeVar("Authentication", bound=type)
_REMEDY: Final = "identify(user_id=...) in a middleware of your own, in the place of this one"


class IdentifyUserMiddleware:
    """
    Make the primary key of the authenticated user the user ID, once the user is read.

    Put it after ``AuthenticationMiddleware``. It is lazy: the user is
    identified when the application reads ``request.user`` or awaits
    ``request.auser()``. If nothing does, the session is not read, and the
    response does not vary by cookie. A login or logout in the view counts at
    once, and so does a user that an inner layer sets as ``request.user``.
    Anonymous users leave the user ID as it is. If the key of a user is no ID,
    or the user cannot be loaded, the reason is logged once, and the request
    goes on without a user ID, also if a proxy has sent one.

    Args:
        get_response: the next layer, sync or async, which Django passes.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        # asgiref chooses the function by the version of Python.
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)
        # The signals refer to us weakly, so that they end with the middleware.
        user_logged_in.connect(self._logged_in)
        user_logged_out.connect(self._logged_out)

    def __call__(self, request: Any) -> Any:
        """
        Serve one request.
        """
        if self._is_async:
            return self._serve_async(request)
        lazy = _replace_user(request)
        response = self.get_response(request)
        _identify_other(request, lazy)
        return response

    async def _serve_async(self, request: Any) -> Any:
        lazy = _replace_user(request)
        response = await self.get_response(request)
        _identify_other(request, lazy)
        return response

    def _logged_in(self, *, request: Any, user: Any, **_: Any) -> None:
        _identify_user(request, user)

    def _logged_out(self, *, request: Any, **_: Any) -> None:
        if _is_served(request):
            identify(user_id=UNSET)


def _replace_user(request: Any) -> Any:
    """
    Replace ``request.user`` by a lazy one that is identified when it is read.
    """
    user: Any = request.__dict__.get("user")
    if user is None:
        return None
    request.user = lazy = SimpleLazyObject(lambda: _identify_user(request, user))
    find: Callable[[], Awaitable[Any]] | None = getattr(request, "auser", None)
    if find is not None:

        async def auser() -> Any:
            return _identify_user(request, await find())

        request.auser = auser
    return lazy


def _identify_other(request: Any, lazy: Any) -> None:
    """
    Identify a user that has replaced the lazy one, as Django REST framework's does.
    """
    user: Any = request.__dict__.get("user")
    if user is not None and user is not lazy and not _is_waiting(user):
        _identify_user(request, user)


def _is_waiting(user: Any) -> bool:
    """
    Return whether a lazy user of another middleware has not been read yet.
    """
    return issubclass(type(user), LazyObject) and getattr(user, "_wrapped", None) is empty


def _is_served(request: Any) -> bool:
    """
    Return whether the request is the current one, and not one that a test has made.
    """
    context = getattr(request, "session_context", None)
    return isinstance(context, RequestContext) and context.reads_from(find_request_ids())


def _identify_user(request: Any, user: Any) -> Any:
    """
    Identify a user unless it is anonymous, and return it; a failure is only logged.
    """
    if _is_served(request) and user is not None:

        def find() -> dict[str, object]:
            return {"user_id": _key_of(user)} if user.is_authenticated else {}

        identify_login("IdentifyUserMiddleware", ["user_id"], find, remedy=_REMEDY)
    return user


def _key_of(user: Any) -> object:
    """
    Return the primary key, or its text if it has a type of its own, as MongoDB's has.
    """
    key, model = user.pk, getattr(user, "_meta", None)
    if key is None or isinstance(key, PLAIN) or model is None:
        return key
    return model.pk.value_to_string(user)


def identified(authentication: Authentication) -> Authentication:
    """
    Return a class of Django REST framework that identifies the user whom it authenticates.

    The framework authenticates in the view, so that the middleware finds the
    user only after it. With this decorator the log lines of the view have the
    user ID as well::

        @identified
        class Bearer(TokenAuthentication):
            keyword = "Bearer"

    Args:
        authentication: a subclass of ``BaseAuthentication``.
    """

    def authenticate(self: Any, request: Any) -> Any:
        found: tuple[Any, Any] | None = cast("Any", super(subclass, self)).authenticate(request)
        if found is not None:
            _identify_user(request, found[0])
        return found

    namespace = {"authenticate": authenticate, "__doc__": authentication.__doc__}
    namespace |= {"__module__": authentication.__module__}
    subclass: Any = type(authentication.__name__, (authentication,), namespace)
    return cast("Authentication", subclass)
