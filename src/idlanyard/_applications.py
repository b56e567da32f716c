"""
Is what a middleware was put around an application of its protocol?
"""

from __future__ import annotations

import inspect
from typing import Any, Final

_CALLS: Final = {"ASGI": ("scope", "receive", "send"), "WSGI": ("environ", "start_response")}
_OTHER: Final = {"ASGI": "WSGI", "WSGI": "ASGI"}
_DJANGO_LINE: Final = '"idlanyard.integrations.django.SessionContextMiddleware" in MIDDLEWARE'


def check_application(app: Any, protocol: str) -> None:
    """
    Refuse what is no application of *protocol*, saying which middleware to write.

    Called is nothing. Callables that do not show what they take are let
    through, as are those that take anything.

    Args:
        app: what the middleware was put around.
        protocol: ``"ASGI"`` or ``"WSGI"``.

    Raises:
        TypeError: *app* cannot be called as *protocol* calls applications.
    """
    called = f"an {protocol} application" if protocol == "ASGI" else f"a {protocol} application"
    if not callable(app):
        raise TypeError(f"app is {called}, not {type(app).__name__}")
    if _is_of_django(app):
        raise TypeError(f"app is {called}; in Django's settings write {_DJANGO_LINE}")
    if _takes(app, _CALLS[protocol]):
        return
    other = _OTHER[protocol]
    if _takes(app, _CALLS[other]):
        module = f"idlanyard.{other.lower()}"
        raise TypeError(
            f"app is {called}, and this one takes {', '.join(_CALLS[other])}: write "
            f"from {module} import SessionContextMiddleware"
        )
    raise TypeError(f"app is {called}, which takes {', '.join(_CALLS[protocol])}")


def _is_of_django(app: Any) -> bool:
    """
    Return whether *app* is the rest of ``MIDDLEWARE``, as Django hands it to each line.
    """
    # Those that turn one kind of middleware into the other take anything.
    if type(app).__module__ == "asgiref.sync":
        return True
    signature = _signature_of(app)
    return signature is not None and [*signature.parameters] == ["request"]


def _takes(app: Any, arguments: tuple[str, ...]) -> bool:
    """
    Return whether *app* can be called with so many arguments, or does not say.
    """
    signature = _signature_of(app)
    if signature is None:
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _signature_of(app: Any) -> inspect.Signature | None:
    try:
        # By itself, and not by what it was made to look like.
        return inspect.signature(app, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
