"""
The queue of the tour: Celery on a folder, and the worker that sends receipts.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from celery import Celery
from celery.signals import worker_ready

from idlanyard import get_user_id, use_policy
from idlanyard._demo.tour import folder_queue
from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.settings import TourSettings
from idlanyard._demo.tour.tracing import continue_trace
from idlanyard.integrations import celery

if TYPE_CHECKING:
    from celery import Task
    from opentelemetry.trace import Tracer

JOB: Final = "send_receipt"
log = logging.getLogger("worker")


def make_jobs(settings: TourSettings) -> Celery:
    """
    Return the Celery application, for the shop and for the worker.
    """
    app = Celery("tour", broker="filesystem://localhost")
    app.conf.update(
        broker_transport_options={
            "data_folder_in": settings.queue,
            "data_folder_out": settings.queue,
            "control_folder": settings.queue,
            "polling_interval": 0.05,
        },
        broker_transport=f"{folder_queue.__name__}:Transport",
        broker_connection_retry_on_startup=False,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    celery.install(app)
    return app


def run_worker(settings: TourSettings, reporter: Reporter, tracer: Tracer) -> None:
    """
    Run a worker until the standard input ends.
    """
    app = make_jobs(settings)
    use_policy(settings.make_trusting_policy())

    def send_receipt(task: Task[..., None]) -> None:
        reporter.report_arrival("shop", JOB, {}, {})
        trace = continue_trace(task.request.headers or {})
        with trace, tracer.start_as_current_span("receipt"):
            log.info("a receipt for %s", get_user_id("nobody"))

    app.task(name=JOB, bind=True)(send_receipt)

    def report_ready(**_: object) -> None:
        reporter.report("ready", port=0)

    def stop_at_end_of_input() -> None:
        sys.stdin.read()
        # As the manual of Celery says; the task that runs is ended first.
        os.kill(os.getpid(), signal.SIGTERM)

    worker_ready.connect(report_ready, weak=False)
    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    try:
        app.Worker(
            pool="solo",
            loglevel="INFO",
            quiet=True,
            without_gossip=True,
            without_heartbeat=True,
            without_mingle=True,
        ).start()
    finally:
        # The process that has made the folder may have been killed.
        shutil.rmtree(settings.queue, ignore_errors=True)
