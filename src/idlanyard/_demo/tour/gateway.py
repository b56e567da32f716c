"""
The gateway of the tour: FastAPI, in front of the other services.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import httpx2
from fastapi import FastAPI, Response

from idlanyard import get_session_id, get_user_id, identify, require, rotate_session_id
from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.settings import TourSettings
from idlanyard._demo.tour.tracing import write_trace
from idlanyard._demo.tour.wire import InnerASGI, OuterASGI
from idlanyard.integrations import fastapi, httpx

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger("gateway")
_LIMIT = httpx2.Limits(max_connections=16)


class Services:
    """
    The clients of the gateway, and its calls.

    Args:
        settings: the addresses and the keys.
        tracer: starts a span for each call.
    """

    def __init__(self, settings: TourSettings, tracer: Tracer) -> None:
        self._urls = settings.urls
        self._tracer = tracer
        named = {"User-Agent": "gateway"}
        self._client = httpx2.AsyncClient(headers=named, timeout=60, limits=_LIMIT)
        httpx.install(self._client, to=[self._urls["shop"]])
        self._signing = httpx2.AsyncClient(headers=named, timeout=60)
        httpx.install(
            self._signing, to=[self._urls["billing"]], sign=settings.make_signer("billing")
        )

    async def order(self, *, broken: bool) -> int:
        """
        Order from the shop, which trusts this gateway; return its status.
        """
        path = "/orders?broken=1" if broken else "/orders"
        with self._tracer.start_as_current_span("order from the shop"):
            url = self._urls["shop"] + path
            return (await self._client.post(url, headers=write_trace())).status_code

    async def bill(self) -> int:
        """
        Have billing write an invoice, which believes signatures only; return its status.
        """
        with self._tracer.start_as_current_span("bill"):
            url = self._urls["billing"] + "/invoices"
            return (await self._signing.post(url, headers=write_trace())).status_code

    async def ask_partner(self) -> int:
        """
        Ask the third party, which is on no list and gets neither IDs nor the trace; return its
        status.
        """
        with self._tracer.start_as_current_span("ask the third party"):
            path = f"/rates/{require('request_id')}"
            return (await self._client.get(self._urls["partner"] + path)).status_code

    async def ask_shop_for_session(self) -> str:
        """
        Return the session that the shop sees.
        """
        return (await self._client.get(self._urls["shop"] + "/crowd")).text


def make_gateway(settings: TourSettings, reporter: Reporter, tracer: Tracer) -> Any:
    """
    Return the application of the gateway.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(InnerASGI, reporter=reporter)
    fastapi.install(app, settings.make_verifying_policy("gateway"))
    services = Services(settings, tracer)

    async def checkout(response: Response, step: str = "") -> dict[str, int]:
        with tracer.start_as_current_span("checkout"):
            log.info("checkout begins for %s", get_user_id("nobody"))
            if step == "login":
                identify(user_id="alice", tenant_id="acme")
                log.info("alice has logged in")
            if step == "rotate":
                rotate_session_id()
                log.info("the session is a new one")
            statuses = {"shop": await services.order(broken=step == "break")}
            statuses["billing"] = await services.bill()
            if step == "partner":
                statuses["partner"] = await services.ask_partner()
            if any(status >= 500 for status in statuses.values()):
                log.warning("checkout failed: %s", statuses)
                response.status_code = 502
        return statuses

    async def crowd() -> dict[str, str | None]:
        at_first = get_session_id()
        shop = await services.ask_shop_for_session()
        return {"before": at_first, "shop": shop, "after": get_session_id()}

    app.post("/checkout")(checkout)
    app.get("/crowd")(crowd)
    return OuterASGI(app, reporter)
