"""
The server of ``manage.py runserver``, whose access lines have the IDs of their
requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from django.apps import apps
from django.core.management import find_commands, load_command_class
from django.core.management.commands import runserver

from idlanyard._binding.state import UNBOUND, RequestIDs, bound, reset_binding
from idlanyard.wsgi import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

_SERVED: Final = "idlanyard._served"


def command_behind(label: str) -> type[Any]:
    """
    Return the class of the ``runserver`` that Django would run without ours.

    Django takes a command from the first application in ``INSTALLED_APPS`` that
    has it. Ours wraps the one of the next application, such as
    ``django.contrib.staticfiles``.

    Args:
        label: the label of our application.
    """
    behind = False
    for config in apps.get_app_configs():
        if behind and "runserver" in find_commands(str(Path(config.path) / "management")):
            return type(load_command_class(config.name, "runserver"))
        behind = behind or config.label == label
    return runserver.Command


def command_with_ids(label: str, module: str) -> type[Any]:
    """
    Return the class of a ``runserver`` whose access lines have the IDs.

    Args:
        label: the label of our application.
        module: the module in which Django finds the command.
    """
    behind = command_behind(label)
    own = {"__module__": module, "server_cls": with_ids(behind.server_cls)}
    return type("Command", (behind,), own)


def with_ids(server: type[Any]) -> type[Any]:
    """
    Return the class of a server whose access lines have the IDs of their requests.

    Args:
        server: Django's ``WSGIServer``, or a class in its place.
    """
    return type(server.__name__, (_Server, server), {})


class _Server:
    """
    A server that passes the IDs of each request to its handler.
    """

    def __init__(self, address: Any, handler: type[Any], **options: Any) -> None:
        lines = type(handler.__name__, (_Lines, handler), {})
        super().__init__(address, lines, **options)  # type: ignore[call-arg]

    def set_app(self, application: Callable[..., Any]) -> None:
        """
        Serve *application*, and remember the IDs of each request for its access line.
        """

        def remembered(environ: Any, start_response: Any) -> Any:
            try:
                return application(environ, start_response)
            finally:
                environ[_SERVED].append(environ.get(KEY))

        super().set_app(remembered)  # type: ignore[misc]


class _Lines:
    """
    A handler that writes the line about a request while its IDs are bound.
    """

    _served: list[Any]

    def get_environ(self) -> dict[str, Any]:
        """
        Return the ``environ`` with a list in it, which the server's copy shares.
        """
        environ = cast("dict[str, Any]", super().get_environ())  # type: ignore[misc]
        self._served = environ[_SERVED] = []
        return environ

    def log_request(self, *args: Any) -> None:
        """
        Write the line of one request; the next one on the connection has its own IDs.
        """
        served, self._served = getattr(self, "_served", []), []
        inner = served[-1] if served else None
        token = bound.set(inner if isinstance(inner, RequestIDs) else UNBOUND)
        try:
            super().log_request(*args)  # type: ignore[misc]
        finally:
            reset_binding(token)
