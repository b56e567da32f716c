"""
The parts of an application: its middlewares, its clients, its CORS rules. No request is sent.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, TypeVar, cast

from idlanyard._doctor._observations import Application
from idlanyard._doctor._target import Target
from idlanyard._policy.origins import Origins

_Fact = TypeVar("_Fact")
_INNER: Final = ("middleware_stack", "wsgi_app", "asgi_app", "app", "application", "_app")
_MOST: Final = 50
_FRAMEWORKS: Final = ("fastapi", "flask", "django", "starlette")
_OURS: Final = "idlanyard"
_DOORS: Final = ("SessionContextMiddleware",)
_TELEMETRY: Final = "idlanyard.integrations.opentelemetry"


def inspect_application(target: Target) -> Application:
    """
    Return the facts about an application, whose middlewares have to be built already.
    """
    objects = [*_list_objects(target.app)]
    framework = _find_framework(objects) or target.kind
    settings = _read_settings() if framework == "django" else None
    layers = [_describe_layer(one) for one in objects]
    if settings is not None:
        layers += [*map(str, settings.MIDDLEWARE)]
    return Application(
        kind=target.kind,
        framework=framework,
        layers=layers,
        place=next((place for place, name in enumerate(layers) if is_ours(name)), None),
        faults=_check_django() if settings is not None else [],
        outgoing=_list_outgoing(),
        everyone=_list_everyone(),
        origins=_list_origins(objects, settings),
        host=_find_host(settings),
    )


def is_ours(layer: str) -> bool:
    """
    Return whether the name of a layer is that of our middleware.
    """
    module, _, name = layer.rpartition(".")
    return module.split(".")[0] == _OURS and name in _DOORS


def _list_objects(app: Any) -> Iterator[Any]:
    """
    Return the application and what it wraps, the outermost first.
    """
    seen: set[int] = set()
    while app is not None and id(app) not in seen and len(seen) < _MOST:
        seen.add(id(app))
        yield app
        app = _find_inner(app)


def _find_inner(app: Any) -> Any:
    for name in _INNER:
        inner = _read_attribute(app, name)
        if callable(inner) and not (inspect.ismethod(inner) and inner.__self__ is app):
            return inner
    return getattr(app, "__wrapped__", None) if inspect.isfunction(app) else None


def _read_attribute(app: Any, name: str) -> Any:
    """
    Return an attribute, unless reading it would run code of the application.
    """
    found = inspect.getattr_static(app, name, None)
    if found is None or isinstance(found, property):
        return None
    return getattr(app, name, None)


def _describe_layer(app: Any) -> str:
    named: Any = app
    if not inspect.isroutine(app):
        named = cast("Any", type(app))
    return f"{named.__module__}.{named.__qualname__}"


def _find_framework(objects: list[Any]) -> str | None:
    found = {base.__module__.split(".")[0] for one in objects for base in type(one).__mro__}
    # FastAPI is built on Starlette, whose middlewares may stand around anything.
    return next((name for name in _FRAMEWORKS if name in found), None)


def _read_settings() -> Any:
    """
    Return Django's settings if they are there, else ``None``.
    """
    configuration = sys.modules.get("django.conf")
    settings = getattr(configuration, "settings", None)
    return settings if getattr(settings, "configured", False) else None


def _check_django() -> list[tuple[str, str]]:
    """
    Return the messages of our system checks of Django's settings.
    """
    from idlanyard.integrations.django import _checks

    found = [*_checks.check_middleware(), *_checks.check_settings()]
    return [(str(one.msg), str(one.hint or "")) for one in found]


def _list_outgoing() -> list[str]:
    """
    Return the allow-lists of the clients that send IDs.
    """
    return sorted({*_read_objects(Origins, str)} - {""})


def _list_everyone() -> list[str]:
    """
    Return the integrations that send IDs to every host.
    """
    propagation = sys.modules.get(f"{_TELEMETRY}._propagation")
    kind = getattr(propagation, "SessionContextPropagator", ())
    reaching = _read_objects(kind, attrgetter("reaches_everyone"))
    return [_TELEMETRY] if any(reaching) else []


def _read_objects(kind: Any, read: Callable[[Any], _Fact]) -> list[_Fact]:
    """
    Return the result of *read* for each object of *kind* in this process.
    """
    facts: list[_Fact] = []
    for one in gc.get_objects():
        # isinstance asks a lazy object for its class, which sets it up: the staticfiles_storage
        # of Django 5.2 raises ImproperlyConfigured then.
        if issubclass(type(one), kind):
            # An object that refused its options has none, and is there as long as its traceback.
            with suppress(AttributeError):
                facts.append(read(one))
    return facts


def _list_origins(objects: list[Any], settings: Any) -> list[str]:
    """
    Return the origins that the CORS middleware of Starlette or of Django allows.
    """
    found: list[Any] = [*getattr(settings, "CORS_ALLOWED_ORIGINS", ())]
    for one in objects:
        found += _read_attribute(one, "allow_origins") or ()
    return [origin for origin in found if isinstance(origin, str) and origin != "*"]


def _find_host(settings: Any) -> str:
    """
    Return a host name of Django's ``ALLOWED_HOSTS``, or ``""`` if any will do.
    """
    hosts = [str(host) for host in getattr(settings, "ALLOWED_HOSTS", ())]
    if not hosts or "*" in hosts or "localhost" in hosts:
        return ""
    return hosts[0].lstrip(".")
