"""
Checks of what is around a request: other middlewares, the next request, outgoing calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from idlanyard._doctor._checks._finding import INSTALL, Finding
from idlanyard._doctor._inspection import is_ours
from idlanyard._doctor._observations import Observations

# These may be outside: they neither answer requests nor write headers of ours, or are the
# application itself.
_HARMLESS: Final = frozenset(
    {
        "ASGIHandler",
        "FastAPI",
        "Flask",
        "OpenTelemetryMiddleware",
        "ProxyFix",
        "ProxyHeadersMiddleware",
        "SentryAsgiMiddleware",
        "SentryWsgiMiddleware",
        "Starlette",
        "WSGIHandler",
    }
)
_MOVE: Final = {
    "django": "move the middleware to the first line of MIDDLEWARE",
    "fastapi": "call install(app) of idlanyard.integrations.fastapi in place of add_middleware",
    "starlette": "call install(app) of idlanyard.integrations.starlette in place of add_middleware",
    "flask": "call IDLanyard(app) after everything that assigns app.wsgi_app",
}
MIDDLEWARE: Final = "SessionContextMiddleware"
_PACKAGE: Final = "idlanyard"
_OUTERMOST: Final = "put SessionContextMiddleware around everything else"


def judge_order(observations: Observations) -> Finding:
    """
    Judge whether our middleware is the outermost.
    """
    application = observations.application
    shown = " > ".join(_list_names(application.layers))
    if application.place is None and not observations.is_installed:
        return Finding.red(f"{MIDDLEWARE} is none of the layers: {shown}", INSTALL)
    if application.place is None:
        return Finding.not_applicable(f"{MIDDLEWARE} is at a place that is not seen: {shown}")
    names = _list_names(application.layers[: application.place])
    outside = [name for name in names if name not in _HARMLESS]
    if outside:
        write = _MOVE.get(application.framework, _OUTERMOST)
        return Finding.red(f"outside of {MIDDLEWARE}: {', '.join(outside)}", write)
    faults = [message for message, _ in application.faults]
    remedies = " ".join(dict.fromkeys(remedy for _, remedy in application.faults))
    return Finding.red_if(faults, remedies, otherwise=f"{MIDDLEWARE} is the outermost: {shown}")


def judge_context(observations: Observations) -> Finding:
    """
    Judge whether an ID is still bound when the next request begins.
    """
    left = {
        f"{name} ({exchange.lane})": None
        for exchange in observations.exchanges
        for name in exchange.left
    }
    server = observations.server
    if server is not None:
        left |= {f"{name} ({server.name}, next request)": None for name in server.left}
    if left:
        return Finding.red(
            f"still set after the response: {', '.join(left)}",
            "let the middleware bind the ID, and read it by get_session_id(), in place of a "
            "variable that is set and never reset",
        )
    return Finding.ok("no context variable has an ID of the request before")


def judge_outgoing(observations: Observations) -> Finding:
    """
    Judge which hosts the installed clients send IDs to.
    """
    application = observations.application
    if application.everyone:
        return Finding.red(
            f"{', '.join(application.everyone)} sends IDs to every host",
            "name the origins: to=['https://api.example'] in place of to=EVERYONE",
        )
    if application.outgoing:
        return Finding.ok(f"IDs are sent to these origins only: {'; '.join(application.outgoing)}")
    return Finding.not_applicable("no client sends IDs")


def _list_names(layers: Sequence[str]) -> list[str]:
    """
    Return the names of layers, without what the middleware puts around itself.
    """
    kept = [layer for layer in layers if is_ours(layer) or layer.partition(".")[0] != _PACKAGE]
    return [layer.rpartition(".")[2] for layer in kept]
