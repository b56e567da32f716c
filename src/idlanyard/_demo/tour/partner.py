"""
The third party of the tour: an application without idlanyard, at another origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.wire import headers_of_environ, spell_header

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def make_partner(reporter: Reporter) -> Any:
    """
    Return the application, which reports every header that it gets.
    """

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        reporter.report(
            "arrived",
            journey=path.rpartition("/")[2],
            caller=environ.get("HTTP_USER_AGENT", ""),
            call=f"GET {path}",
            wire=headers_of_environ(environ),
            removed=[],
            ids={},
            headers=[spell_header(key[5:]) for key in environ if key.startswith("HTTP_")],
        )
        start_response("200 OK", [("Content-Type", "text/plain")])
        reporter.report("answered", journey=path.rpartition("/")[2], status=200, headers={})
        return [b"1.07"]

    return app
