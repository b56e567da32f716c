"""
Whoever Django or an authentication class finds becomes the request's user ID.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.utils.functional import LazyObject, SimpleLazyObject, empty

from idlanyard._binding.changing import identify
from idlanyard._binding.functions import is_coroutine_function, mark_coroutine_function
from idlanyard._binding.logins import PLAIN, identify_login
from idlanyard._binding.snapshot import UNSET
from idlanyard._binding.state import RequestContext, find_request_ids

Authentication = TypeVar("Authentication", bound=type)
_REMEDY: Final = "identify(user_id=...) in a middleware of your own, in the place of this one"


class IdentifyUserMiddleware:
    """
    Make the authenticated user's primary key the user ID, once anything looks.

    Put it after ``AuthenticationMiddleware``. It is lazy: as soon as the
    application reads ``request.user`` or awaits ``request.auser()`` the user
    is identified, and where nothing does, the session is left alone and the
    response does not vary by cookie. A login or logout in the view counts at
    once, and so does whom an inner layer has put at ``request.user``.
    Anonymous users leave the user ID as it is. A user whose key is no ID, or
    who cannot be loaded, leaves nobody's name: the reason is logged once, and
    the request goes on without a user ID, whatever a proxy has said before.

    Args:
        get_response: what Django hands over, sync or async.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._is_async = is_coroutine_function(get_response)
        if self._is_async:
            mark_coroutine_function(self)
        # The references are weak: they go with the middleware.
        user_logged_in.connect(self._logged_in)
        user_logged_out.connect(self._logged_out)

    def __call__(self, request: Any) -> Any:
        """
        Serve one request.
        """
        if self._is_async:
            return self._serve_async(request)
        lazy = _watch(request)
        response = self.get_response(request)
        _identify_other(request, lazy)
        return response

    async def _serve_async(self, request: Any) -> Any:
        lazy = _watch(request)
        response = await self.get_response(request)
        _identify_other(request, lazy)
        return response

    def _logged_in(self, *, request: Any, user: Any, **_: Any) -> None:
        _name(request, user)

    def _logged_out(self, *, request: Any, **_: Any) -> None:
        if _is_served(request):
            identify(user_id=UNSET)


def _watch(request: Any) -> Any:
    """
    Let whoever is found at ``request.user`` be identified when it is found.
    """
    user: Any = request.__dict__.get("user")
    if user is None:
        return None
    request.user = lazy = SimpleLazyObject(lambda: _name(request, user))
    find: Callable[[], Awaitable[Any]] | None = getattr(request, "auser", None)
    if find is not None:

        async def auser() -> Any:
            return _name(request, await find())

        request.auser = auser
    return lazy


def _identify_other(request: Any, lazy: Any) -> None:
    """
    Identify who was put in the place of the lazy user, as Django REST framework does.
    """
    user: Any = request.__dict__.get("user")
    if user is not None and user is not lazy and not _is_waiting(user):
        _name(request, user)


def _is_waiting(user: Any) -> bool:
    """
    Return whether a lazy user of somebody else's has not been looked for yet.
    """
    return issubclass(type(user), LazyObject) and getattr(user, "_wrapped", None) is empty


def _is_served(request: Any) -> bool:
    """
    Return whether this is the request that is served here, and not one made up by a test client.
    """
    context = getattr(request, "session_context", None)
    return isinstance(context, RequestContext) and context.reads_from(find_request_ids())


def _name(request: Any, user: Any) -> Any:
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
    Return the primary key; of a type of the model's own, as MongoDB's, the text Django stores.
    """
    key, model = user.pk, getattr(user, "_meta", None)
    if key is None or isinstance(key, PLAIN) or model is None:
        return key
    return model.pk.value_to_string(user)


def identified(authentication: Authentication) -> Authentication:
    """
    Return an authentication class of Django REST framework that identifies whom it finds.

    It authenticates in the view, so the middleware hears of it only after
    the view. With this the view's own log lines name the user as well::

        @identified
        class Bearer(TokenAuthentication):
            keyword = "Bearer"

    Args:
        authentication: a subclass of ``BaseAuthentication``.
    """

    def authenticate(self: Any, request: Any) -> Any:
        found: tuple[Any, Any] | None = cast("Any", super(subclass, self)).authenticate(request)
        if found is not None:
            _name(request, found[0])
        return found

    namespace = {"authenticate": authenticate, "__doc__": authentication.__doc__}
    namespace |= {"__module__": authentication.__module__}
    subclass: Any = type(authentication.__name__, (authentication,), namespace)
    return cast("Authentication", subclass)
