"""
The last service of the end-to-end test: a Celery worker that logs and traces.

    celery -A integrations.jobs.at_the_end worker
"""

from __future__ import annotations

import json
import logging
import os

from celery import Celery
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis import Redis

from idlanyard.integrations import logging as logging_integration
from idlanyard.integrations.celery import install
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor
from integrations.apps.seen import ids
from integrations.jobs.work import BROKER

URL = os.environ[BROKER]

app = Celery("end", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True, result_expires=60)
install(app)
logging_integration.install()

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SessionContextSpanProcessor())
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("worker")
records: list[logging.LogRecord] = []


class Keep(logging.Handler):
    """
    Keeps the records.
    """

    def emit(self, record: logging.LogRecord) -> None:
        records.append(record)


log = logging.getLogger("shop.worker")
log.setLevel(logging.INFO)
log.addHandler(Keep())


@app.task(name="ship")
def ship(key: str) -> None:
    """
    Log a line and make a span, and hand what they say to the test.
    """
    with tracer.start_as_current_span("ship"):
        log.info("shipping")
    (span,) = exporter.get_finished_spans()
    record = vars(records[-1])
    said = {
        "job": ids()["ids"],
        "line": {name: record[name] for name in ("session_id", "user_id", "tenant_id")},
        "span": dict(span.attributes or {}),
    }
    with Redis.from_url(URL) as store:
        store.rpush(key, json.dumps(said))
