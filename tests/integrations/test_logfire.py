"""
The IDs under Logfire, whose instrumentation stays in the process that configures it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = Path(__file__).with_name("logfire_checks.py")


def test_the_ids_arrive_in_logfire() -> None:
    """
    With every preset, with a processor by hand, and with the page's callback.
    """
    command = [sys.executable, "-m", "pytest", "-q", str(CHECKS), "-p", "no:randomly"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_elsewhere_nothing_is_added() -> None:
    """
    Without Logfire a span has the names of the preset and no others.
    """
    program = """
from opentelemetry.sdk.trace import TracerProvider
from idlanyard import session_context
from idlanyard.integrations.opentelemetry import install
provider = TracerProvider()
install(tracer_provider=provider)
with session_context("s1"), provider.get_tracer("t").start_as_current_span("one") as span:
    print(dict(span.attributes))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "{'session.id': 's1'}\n"
