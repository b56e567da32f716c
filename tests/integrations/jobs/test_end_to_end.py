"""
One request through an ASGI service, an HTTP call, a WSGI service and a job.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from fastapi import FastAPI
from flask import Flask
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request
from starlette.responses import JSONResponse

from idlanyard import Policy
from idlanyard.integrations import celery, fastapi, flask
from idlanyard.integrations import httpx as httpx_integration
from idlanyard.integrations import logging as logging_integration
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor
from integrations.jobs.broker import working
from integrations.jobs.work import wait
from integrations.sides import over_http, serving_asgi, serving_wsgi
from integrations.tracing import by_name, exporter, provider

__all__ = ["exporter", "provider"]

TRUSTING = Policy(trusted_peers=["127.0.0.1"])
IDS = {"session_id": "chat-42", "user_id": "alice", "tenant_id": "acme"}
HEADERS = {"X-Session-ID": "chat-42", "X-User-ID": "alice", "X-Tenant-ID": "acme"}
ATTRIBUTES = {"session.id": "chat-42", "user.id": "alice", "customer.id": "acme"}
WORKER = ("celery", "-A", "integrations.jobs.at_the_end", "worker", "--pool", "solo")


class Lines(logging.Handler):
    """
    Keeps what every record says of the IDs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, dict[str, Any]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.said[record.getMessage()] = {name: getattr(record, name) for name in IDS}


@pytest.fixture
def lines() -> Iterator[Lines]:
    """
    The lines of the services, which have the IDs by ``install``.
    """
    undo = logging_integration.install()
    log, handler = logging.getLogger("shop"), Lines()
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)
    undo()


def shop(there: str, elsewhere: str, tracer: Any) -> FastAPI:
    """
    Return the ASGI service, which asks the warehouse and somebody else.
    """
    app = FastAPI()
    fastapi.install(app, TRUSTING)

    @app.get("/order/{key}")
    async def order(key: str) -> dict[str, Any]:
        with tracer.start_as_current_span("order"):
            logging.getLogger("shop").info("ordering")
            async with httpx.AsyncClient(timeout=60) as client:
                httpx_integration.install(client, to=[there])
                answer = await client.get(f"{there}/pack/{key}")
                others = await client.get(elsewhere)
        return {"echo": dict(answer.headers), "others": others.json()}

    return app


def warehouse(tracer: Any, jobs: Celery) -> Flask:
    """
    Return the WSGI service, which sends the job.
    """
    app = Flask(__name__)
    flask.IDLanyard(app, TRUSTING)

    @app.get("/pack/<key>")
    def pack(key: str) -> str:
        with tracer.start_as_current_span("pack"):
            logging.getLogger("shop").info("packing")
            jobs.send_task("ship", [key])
        return "packed"

    return app


def stranger() -> FastAPI:
    """
    Return a service of somebody else's, which says what it was sent.
    """
    app = FastAPI()

    async def say(request: Request) -> Any:
        return JSONResponse(dict(request.headers))

    app.add_route("/", say)
    return app


def test_the_same_ids_are_everywhere(
    broker: str,
    lines: Lines,
    provider: TracerProvider,
    exporter: InMemorySpanExporter,
    tmp_path: Path,
) -> None:
    """
    One request's three IDs are in every log line, span, job and response of an ASGI
    service, an httpx call, a WSGI service and a Celery task, and a host off the list has none.
    """
    spans = SessionContextSpanProcessor()
    provider.add_span_processor(spans)
    tracer = provider.get_tracer("shop")
    key = uuid.uuid4().hex
    jobs = Celery("warehouse", broker=broker, backend=broker, set_as_current=False)
    take_back = celery.install(jobs)
    with (
        working(*WORKER, output=tmp_path / "output"),
        serving_asgi(stranger()) as off,
        serving_wsgi(warehouse(tracer, jobs)) as on,
        serving_asgi(shop(f"http://127.0.0.1:{on}", f"http://127.0.0.1:{off}/", tracer)) as port,
    ):
        answer = over_http(port)(f"/order/{key}", list(HEADERS.items()))
        said = wait(key)
    spans.shutdown()
    take_back()
    jobs.close()
    echoed = {name.lower(): value for name, value in HEADERS.items()}
    assert {n.lower(): v for n, v in answer.headers if n.lower() in echoed} == echoed
    there = {name.lower(): value for name, value in answer.json()["echo"].items()}
    assert {name: there[name] for name in echoed} == echoed
    assert not {name for name in answer.json()["others"] if name.startswith("x-")}
    assert b"alice" not in str(answer.json()["others"]).encode()
    assert lines.said == {"ordering": IDS, "packing": IDS}
    assert by_name(exporter) == {"order": ATTRIBUTES, "pack": ATTRIBUTES}
    assert said == {"job": IDS, "line": IDS, "span": ATTRIBUTES}
