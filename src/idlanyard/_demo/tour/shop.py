"""
The shop of the tour: Flask, which trusts the gateway and publishes a job for each order.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask import Flask, request

from idlanyard import get_session_id, get_user_id
from idlanyard._demo.tour.jobs import JOB, make_jobs
from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.settings import TourSettings
from idlanyard._demo.tour.tracing import write_trace
from idlanyard._demo.tour.wire import wrap_inside, wrap_outside
from idlanyard.integrations.flask import IDLanyard

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger("shop")


class OutOfStock(Exception):
    """
    An error that no code of the shop handles.
    """


def make_shop(settings: TourSettings, reporter: Reporter, tracer: Tracer) -> Any:
    """
    Return the application of the shop.
    """
    app = Flask("shop")
    app.wsgi_app = wrap_inside(app.wsgi_app, reporter)  # type: ignore[method-assign]
    IDLanyard(app, settings.make_trusting_policy())
    jobs = make_jobs(settings)

    def orders() -> dict[str, str]:
        with tracer.start_as_current_span("orders"):
            log.info("an order of %s", get_user_id("nobody"))
            if "broken" in request.args:
                raise OutOfStock("the shelf is empty")
            jobs.send_task(JOB, headers=write_trace())
        return {"order": "taken"}

    def crowd() -> str:
        return get_session_id("")

    app.post("/orders")(orders)
    app.get("/crowd")(crowd)
    return wrap_outside(app.wsgi_app, reporter)
