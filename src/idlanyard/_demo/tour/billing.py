"""
Billing in the tour: Django, which believes a user by a signature only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import django.conf
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import path

from idlanyard import get_user_id
from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.settings import TourSettings
from idlanyard._demo.tour.wire import report_environ, wrap_outside

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger("billing")


class Urls:
    """
    The routes, as ``ROOT_URLCONF`` takes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        def invoices(_request: HttpRequest) -> JsonResponse:
            with tracer.start_as_current_span("invoices"):
                log.info("an invoice for %s", get_user_id("nobody"))
            return JsonResponse({"invoice": "written"})

        self.urlpatterns = [path("invoices", invoices)]


def report_arrivals(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """
    Return a line of ``MIDDLEWARE`` that reports the IDs of each request.
    """

    def report_and_answer(request: HttpRequest) -> HttpResponseBase:
        report_environ(request.META, django.conf.settings.TOUR_REPORTER)
        return get_response(request)

    return report_and_answer


def make_billing(settings: TourSettings, reporter: Reporter, tracer: Tracer) -> Any:
    """
    Return the application of billing.
    """
    policy = settings.make_verifying_policy("billing")
    django.conf.settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        IDLANYARD={"USER": policy.user, "TENANT": policy.tenant, "EXTRA": policy.extra},
        LOGGING_CONFIG=None,
        MIDDLEWARE=[
            "idlanyard.integrations.django.SessionContextMiddleware",
            f"{__name__}.report_arrivals",
        ],
        ROOT_URLCONF=Urls(tracer),
        TOUR_REPORTER=reporter,
    )
    return wrap_outside(get_wsgi_application(), reporter)
