"""
The server of ``manage.py runserver``, which writes its access lines with the IDs
of their requests.
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

    As for any command, the application that stands first in
    ``INSTALLED_APPS`` has it: ours wraps what the next one brings, such as
    that of ``django.contrib.staticfiles``.

    Args:
        label: our application's.
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
        label: our application's.
        module: where Django finds the command.
    """
    behind = command_behind(label)
    own = {"__module__": module, "server_cls": with_ids(behind.server_cls)}
    return type("Command", (behind,), own)


def with_ids(server: type[Any]) -> type[Any]:
    """
    Return the class of a server whose access lines have the IDs of their requests.

    Args:
        server: Django's ``WSGIServer``, or what takes its place.
    """
    return type(server.__name__, (_Server, server), {})


class _Server:
    """
    A server that tells its handlers what each request has had.
    """

    def __init__(self, address: Any, handler: type[Any], **options: Any) -> None:
        lines = type(handler.__name__, (_Lines, handler), {})
        super().__init__(address, lines, **options)  # type: ignore[call-arg]

    def set_app(self, application: Callable[..., Any]) -> None:
        """
        Serve *application*, and remember the IDs of each request for its line.
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
        Return the request; a server passes a copy on, with the list that is in it.
        """
        environ = cast("dict[str, Any]", super().get_environ())  # type: ignore[misc]
        self._served = environ[_SERVED] = []
        return environ

    def log_request(self, *args: Any) -> None:
        """
        Write the line about a request; what follows on the connection has its own.
        """
        served, self._served = getattr(self, "_served", []), []
        inner = served[-1] if served else None
        token = bound.set(inner if isinstance(inner, RequestIDs) else UNBOUND)
        try:
            super().log_request(*args)  # type: ignore[misc]
        finally:
            reset_binding(token)
