"""
The application to check: its name on the command line, its kind, and its import.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, cast, get_args

KindName = Literal["asgi", "wsgi", "factory", "django"]
KINDS: Final[tuple[str, ...]] = get_args(KindName)

_USUAL: Final = ("app", "application", "create_app", "make_app", "asgi", "wsgi")
_CALL: Final = re.compile(r"([A-Za-z_][\w.]*)\(\)")
_SETTINGS: Final = "DJANGO_SETTINGS_MODULE"
_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class CannotRun(Exception):
    """
    The application cannot be checked; the message says why, and what to write.
    """


class Target(NamedTuple):
    """
    An application that was imported.

    Attributes:
        app: the application.
        kind: ``"asgi"`` or ``"wsgi"``.
    """

    app: Any
    kind: str


def load_target(text: str, kind: str | None = None) -> Target:
    """
    Import an application.

    Args:
        text: ``module:app``, ``module:factory()``, ``module`` or a Django
            settings module.
        kind: one of ``KINDS``; left out, it is detected.

    Raises:
        CannotRun: there is no such application, or its import failed.
    """
    name, _, attribute = text.partition(":")
    if "/" in name or name.endswith(".py"):
        written = name.removesuffix(".py").strip("./").replace("/", ".")
        raise CannotRun(
            f"{text} is a file: write its module, {written}:{attribute or 'app'}, and run this in "
            f"the folder that holds it"
        )
    if kind == "django" and attribute:
        raise CannotRun(f"--kind django takes the settings module alone: write {name}")
    # A settings module has to be named before any module of the project is imported.
    module = None if kind == "django" else import_guarded(name)
    if module is None or (not attribute and _is_settings(module)):
        return _load_django(name)
    found = _find_attribute(module, attribute or _guess_attribute(module))
    if kind == "factory" or (kind is None and _is_factory(found)):
        found = call_guarded(found, f"{text} is a factory, and its call")
    return Target(found, detect_kind(found, text) if kind in (None, "factory") else str(kind))


def import_guarded(name: str) -> ModuleType:
    """
    Import a module.

    Raises:
        CannotRun: there is no such module, or it raised an error.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CannotRun(
                f"there is no module {error.name} here: run this in the folder that holds it, or "
                f"set PYTHONPATH"
            ) from error
        raise CannotRun(
            f"the import of {name} failed: {describe_error(error)}: install {error.name} into "
            f"the environment of this command"
        ) from error
    except (Exception, SystemExit) as error:
        raise CannotRun(
            f"the import of {name} failed: {describe_error(error)}: make sure that python -c "
            f"'import {name}' works, with the same environment variables"
        ) from error


def call_guarded(fn: Callable[[], Any], about: str) -> Any:
    """
    Return what a function of the application returns.

    Raises:
        CannotRun: it raised an error.
    """
    try:
        return fn()
    except (Exception, SystemExit) as error:
        remedy = ""
        if isinstance(error, ModuleNotFoundError):
            remedy = f": install {error.name} into the environment of this command"
        raise CannotRun(f"{about} failed: {describe_error(error)}{remedy}") from error


def describe_error(error: BaseException) -> str:
    """
    Return the type and the message of an error, and its place in the application's code.
    """
    message = " ".join(str(error).split())[:300]
    frames = traceback.extract_tb(error.__traceback__)
    here = str(Path.cwd())
    ours = [frame for frame in frames if frame.filename.startswith(here)]
    place = f" ({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"


def detect_kind(app: Any, text: str) -> str:
    """
    Return ``"asgi"`` or ``"wsgi"``, by how an application is called.

    Raises:
        CannotRun: it can be called in neither way.
    """
    call = app if inspect.isroutine(app) else getattr(app, "__call__", None)  # noqa: B004
    if not callable(app) or call is None:
        raise CannotRun(
            f"{text} is of type {type(app).__name__}, which is no application: name the ASGI or "
            f"WSGI application, as in module:app"
        )
    if inspect.iscoroutinefunction(call) or _count_parameters(app) == 3:
        return "asgi"
    if _count_parameters(app) == 2:
        return "wsgi"
    raise CannotRun(
        f"{text} may be ASGI or WSGI, which its signature does not tell: add --kind asgi or "
        f"--kind wsgi"
    )


def _find_attribute(module: ModuleType, attribute: str) -> Any:
    call = _CALL.fullmatch(attribute)
    found: Any = module
    for part in (call[1] if call else attribute).split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            there = ", ".join(name for name in _USUAL if hasattr(module, name))
            hint = f"write {module.__name__}:{there.split(', ')[0]}" if there else "name another"
            raise CannotRun(f"{module.__name__} has no {part}: {hint}") from None
    if call is None:
        return found
    return call_guarded(found, f"{module.__name__}:{attribute}")


def _guess_attribute(module: ModuleType) -> str:
    for name in _USUAL:
        if callable(getattr(module, name, None)):
            return name
    raise CannotRun(
        f"{module.__name__} has none of {', '.join(_USUAL)}: name the application, as in "
        f"{module.__name__}:app"
    )


def _is_settings(module: ModuleType) -> bool:
    return any(hasattr(module, name) for name in ("ROOT_URLCONF", "INSTALLED_APPS"))


def _is_factory(found: Any) -> bool:
    """
    Return whether an object is a function that needs no argument.
    """
    if not inspect.isfunction(found) or inspect.iscoroutinefunction(found):
        return False
    return _count_parameters(found) == 0


def _count_parameters(called: Any) -> int | None:
    """
    Return the number of arguments that a call needs, or ``None`` if it is not known.
    """
    try:
        parameters = inspect.signature(called, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return None
    return len([one for one in parameters if one.kind in _POSITIONAL and one.default is one.empty])


def _load_django(name: str) -> Target:
    """
    Return the application of a Django project: over WSGI unless it has only an ASGI one.
    """
    os.environ[_SETTINGS] = name
    import_guarded(name)
    django = cast("Any", import_guarded("django"))
    call_guarded(django.setup, f"django.setup() with {_SETTINGS}={name}")
    settings: Any = importlib.import_module("django.conf").settings
    for option, kind in (("WSGI_APPLICATION", "wsgi"), ("ASGI_APPLICATION", "asgi")):
        path = getattr(settings, option, None)
        if path:
            module, _, attribute = str(path).rpartition(".")
            return Target(_find_attribute(import_guarded(module), attribute), kind)
    wsgi: Any = importlib.import_module("django.core.wsgi")
    return Target(call_guarded(wsgi.get_wsgi_application, "get_wsgi_application()"), "wsgi")
