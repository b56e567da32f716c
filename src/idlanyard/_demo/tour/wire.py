"""
Wrappers around the applications, which report requests as they arrive and responses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.tracing import TRACE_HEADER, continue_trace

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WIRE: Final = "idlanyard.tour.wire"
CROWD: Final = "/crowd"
_PREFIX: Final = "HTTP_"


def spell_header(name: str) -> str:
    """
    Return the usual spelling of a header, as in ``X-Session-ID``.
    """
    parts = name.replace("_", "-").lower().split("-")
    return "-".join("ID" if part == "id" else part.title() for part in parts)


def select_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """
    Return the headers that may carry IDs, and the one that carries a trace.
    """
    spelled = ((spell_header(name), value) for name, value in headers)
    return {name: value for name, value in spelled if name.startswith("X-") or name == TRACE_HEADER}


def headers_of_scope(scope: Any) -> dict[str, str]:
    """
    Return the headers of an ASGI request that may carry IDs.
    """
    return select_headers((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"])


def headers_of_environ(environ: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the headers of a WSGI request that may carry IDs.
    """
    return select_headers(
        (key.removeprefix(_PREFIX), str(value))
        for key, value in environ.items()
        if key.startswith(_PREFIX)
    )


class OuterASGI:
    """
    Around the middleware: keeps the headers as they arrived, continues the trace, and reports the
    response.
    """

    def __init__(self, app: Any, reporter: Reporter) -> None:
        self._app = app
        self._reporter = reporter

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve a request.
        """

        async def report_and_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = headers_of_scope(message)
                report_response(self._reporter, message["status"], headers)
            await send(message)

        reported = scope["type"] == "http" and scope["path"] != CROWD
        wire = headers_of_scope(scope) if reported else {}
        with continue_trace(wire):
            await self._app({**scope, WIRE: wire}, receive, report_and_send if reported else send)


class InnerASGI:
    """
    Inside the middleware: reports the IDs that it has bound.
    """

    def __init__(self, app: Any, reporter: Reporter) -> None:
        self._app = app
        self._reporter = reporter

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """
        Serve a request.
        """
        if wire := scope[WIRE]:
            call = f"{scope['method']} {scope['path']}"
            caller = dict(scope["headers"]).get(b"user-agent", b"").decode("latin-1")
            self._reporter.report_arrival(caller, call, wire, headers_of_scope(scope))
        await self._app(scope, receive, send)


def wrap_outside(app: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """
    Return *app* in a wrapper that keeps the headers as they arrived, continues the trace, and
    reports the response.
    """

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        def report_and_start(status: str, headers: Any, *rest: Any) -> Any:
            report_response(reporter, int(status.split(maxsplit=1)[0]), select_headers(headers))
            return start_response(status, headers, *rest)

        if environ["PATH_INFO"] == CROWD:
            return app(environ, start_response)
        environ[WIRE] = wire = headers_of_environ(environ)
        with continue_trace(wire):
            return app(environ, report_and_start)

    return wrapped


def wrap_inside(app: Callable[..., Any], reporter: Reporter) -> Callable[..., Any]:
    """
    Return *app* in a wrapper that reports the IDs that the middleware around it has bound.
    """

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        report_environ(environ, reporter)
        return app(environ, start_response)

    return wrapped


def report_environ(environ: Mapping[str, Any], reporter: Reporter) -> None:
    """
    Report a WSGI request with the IDs that are bound for it.
    """
    if wire := environ.get(WIRE):
        call = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        caller = environ.get("HTTP_USER_AGENT", "")
        reporter.report_arrival(caller, call, wire, headers_of_environ(environ))


def report_response(reporter: Reporter, status: int, headers: Mapping[str, str]) -> None:
    """
    Report the status and the headers of a response.
    """
    journey = headers.get("X-Request-ID")
    reporter.report("answered", journey=journey, status=status, headers=dict(headers))
