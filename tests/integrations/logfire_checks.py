"""
Logfire scrubs what looks like a secret; the IDs arrive all the same.

``test_logfire.py`` runs these in a process of their own: what Logfire does to
executors and to the global propagator is not taken back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from logfire import Logfire, ScrubbingOptions, configure
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from idlanyard import identify, session_context
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor, install

PRESETS = ["default", "tenant", "genai", "openinference", "langfuse", "traceloop", "logfire"]
PAGE = Path(__file__).parents[2].joinpath("docs", "opentelemetry.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """
    The list of finished spans, after Logfire has scrubbed them.
    """
    return InMemorySpanExporter()


@pytest.fixture
def configured(exporter: InMemorySpanExporter, tmp_path: Path) -> Iterator[Callable[..., Logfire]]:
    """
    A function that configures a Logfire of its own, which sends nothing.
    """
    made: list[Logfire] = []

    def make(*processors: Any, **options: Any) -> Logfire:
        made.append(
            configure(
                local=True,
                send_to_logfire=False,
                console=False,
                config_dir=tmp_path,
                inspect_arguments=False,
                additional_span_processors=[*processors, SimpleSpanProcessor(exporter)],
                **options,
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


def texts(exporter: InMemorySpanExporter, name: str) -> list[object]:
    """
    Return the values of the attributes that the span *name* arrives with.
    """
    (span,) = [one for one in exporter.get_finished_spans() if one.name == name]
    return [*(span.attributes or {}).values()]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_session_arrives_by_every_preset(
    preset: str, configured: Callable[..., Logfire], exporter: InMemorySpanExporter
) -> None:
    """
    With install(), Logfire's own scrubbing leaves session, user and tenant.
    """
    made = configured()
    undo = install(tracer_provider=made.config.get_tracer_provider(), names=preset)
    with session_context("s1", user_id="u1"), made.span("work"):
        identify(tenant_id="t1")
    undo()
    assert {"s1", "u1", "t1"} <= {*texts(exporter, "work")}


def test_the_preset_is_enough_without_install(
    configured: Callable[..., Logfire], exporter: InMemorySpanExporter
) -> None:
    """
    A processor that is added by hand takes the preset.
    """
    made = configured(SessionContextSpanProcessor("logfire"))
    with session_context("s1", user_id="u1", tenant_id="t1"), made.span("work"):
        pass
    assert {"s1", "u1", "t1"} <= {*texts(exporter, "work")}


def test_an_id_that_is_left_off_is_not_called_otherwise(
    configured: Callable[..., Logfire], exporter: InMemorySpanExporter
) -> None:
    """
    None leaves the session off, under every name.
    """
    made = configured()
    undo = install(tracer_provider=made.config.get_tracer_provider(), names={"session_id": None})
    with session_context("s1", user_id="u1"), made.span("work"):
        pass
    undo()
    values = texts(exporter, "work")
    assert "u1" in values
    assert "s1" not in values


@pytest.mark.parametrize("preset", PRESETS)
def test_the_callback_of_the_page_keeps_every_id(
    preset: str, configured: Callable[..., Logfire], exporter: InMemorySpanExporter
) -> None:
    """
    IDs that look like a secret arrive too, and what is no ID is scrubbed as before.
    """
    (block,) = [block for block in BLOCKS if "ScrubMatch" in block]
    recipe: dict[str, Any] = {}
    exec(block.partition("logfire.configure(")[0], recipe)
    made = configured(scrubbing=ScrubbingOptions(callback=recipe["keep_ids"]))
    undo = install(tracer_provider=made.config.get_tracer_provider(), names=preset)
    ids = {"session_id": "session_1", "user_id": "auth0|u1", "tenant_id": "cookie.example"}
    with session_context(**ids), made.span("work", password="p"):
        pass
    undo()
    values = texts(exporter, "work")
    assert {*ids.values()} <= {*values}
    assert "[Scrubbed due to 'password']" in values
