"""
One service of the tour, as a process: it runs until its standard input ends.
"""

from __future__ import annotations

import sys
from typing import Any

from idlanyard._demo.servers import serve_asgi, serve_wsgi
from idlanyard._demo.tour.reporting import Reporter, observe, take_output
from idlanyard._demo.tour.settings import TourSettings


def run_service(name: str, settings: TourSettings, reporter: Reporter) -> None:
    """
    Run the service called *name*.
    """
    tracer = observe(reporter)
    if name == "worker":
        from idlanyard._demo.tour.jobs import run_worker

        run_worker(settings, reporter, tracer)
        return
    if name == "gateway":
        from idlanyard._demo.tour.gateway import make_gateway

        serving = serve_asgi(make_gateway(settings, reporter, tracer))
    else:
        serving = serve_wsgi(make_wsgi_service(name, settings, reporter, tracer))
    with serving as port:
        reporter.report("ready", port=port)
        sys.stdin.read()


def make_wsgi_service(name: str, settings: TourSettings, reporter: Reporter, tracer: Any) -> Any:
    """
    Return the application of a service that waitress serves.
    """
    if name == "shop":
        from idlanyard._demo.tour.shop import make_shop

        return make_shop(settings, reporter, tracer)
    if name == "billing":
        from idlanyard._demo.tour.billing import make_billing

        return make_billing(settings, reporter, tracer)
    from idlanyard._demo.tour.partner import make_partner

    return make_partner(reporter)


if __name__ == "__main__":
    run_service(sys.argv[1], TourSettings.load(sys.stdin.readline()), take_output(sys.argv[1]))
