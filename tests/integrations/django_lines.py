"""
The lines that Django logs about a request, as tests see them.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.test import AsyncClient, Client, override_settings

from idlanyard import get_session_id
from idlanyard.integrations.logging import install
from integrations.apps.django_failing import Routes

SENT = [("X-Session-ID", "s1")]


class Line(NamedTuple):
    """
    A record of Django's, and the session that was bound where it was handled.
    """

    logger: str
    level: str
    message: str
    status: int | None
    route: str | None
    error: str | None
    session: str | None
    bound: str | None

    def as_django_has_it(self) -> tuple[Any, ...]:
        return self[:6]


class Lines(logging.Handler):
    """
    Collects what the loggers of Django are given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        said: Any = record
        error = record.exc_info[0] if record.exc_info else None
        self.found.append(
            Line(
                record.name,
                record.levelname,
                record.getMessage(),
                getattr(record, "status_code", None),
                said.request.path if getattr(record, "request", None) else None,
                error.__name__ if error else None,
                said.session_id,
                get_session_id(),
            )
        )


@contextmanager
def logged() -> Iterator[list[Line]]:
    """
    Collect the lines of Django while every record has the IDs.
    """
    lines, undo, logger = Lines(), install(), logging.getLogger("django")
    logger.addHandler(lines)
    try:
        yield lines.found
    finally:
        logger.removeHandler(lines)
        undo()


def ask(
    way: str, route: str, *middleware: str, method: str = "GET", chosen: Any = None, **options: Any
) -> list[Line]:
    """
    Ask Django's own client, with these lines of MIDDLEWARE and these settings, for its lines.
    """
    given = {"ROOT_URLCONF": Routes, "MIDDLEWARE": middleware} | (chosen or {})
    with logged() as lines, override_settings(**given):
        if way == "wsgi":
            client = Client(raise_request_exception=False, enforce_csrf_checks=True)
            client.generic(method, route, headers=dict(SENT), **options)
        else:

            async def asked() -> None:
                asking: Any = AsyncClient(raise_request_exception=False, enforce_csrf_checks=True)
                await asking.generic(method, route, headers=dict(SENT), **options)

            asyncio.run(asked())
    return lines


@contextmanager
def printed(formatter: logging.Formatter, *filters: logging.Filter) -> Iterator[Callable[[], Any]]:
    """
    Add a handler that prints Django's lines; yield a function that returns its text.
    """
    handler, logger = logging.StreamHandler(io.StringIO()), logging.getLogger("django")
    handler.setFormatter(formatter)
    for each in filters:
        handler.addFilter(each)
    logger.addHandler(handler)
    try:
        yield lambda: handler.stream.getvalue().splitlines()
    finally:
        logger.removeHandler(handler)
