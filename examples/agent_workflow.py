"""
A support desk of two agents, a tool, a search and a made-up model. Two conversations
run at once. Every span of each has its session, user and customer, and only the first
line of a conversation names them.

    python examples/agent_workflow.py
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from idlanyard import session_context
from idlanyard.integrations.opentelemetry import SessionContextSpanProcessor


def line(span: ReadableSpan) -> str:
    """
    Write a span as one line of JSON.
    """
    return json.dumps({"span": span.name, **(span.attributes or {})}) + "\n"


provider = TracerProvider()
provider.add_span_processor(SessionContextSpanProcessor())
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
tracer = provider.get_tracer("support")


@contextmanager
def operation(name: str, target: str, **attributes: str) -> Iterator[None]:
    """
    Start a span as the conventions for generative AI ask for it.
    """
    known = {"gen_ai.operation.name": name, **attributes}
    with tracer.start_as_current_span(f"{name} {target}", attributes=known):
        yield


async def ask_model(prompt: str) -> str:
    """
    Answer as a model would.
    """
    with operation("chat", "tiny"):
        await asyncio.sleep(0)
        return f"answer to {prompt}"


def look_up(order: str) -> str:
    """
    Look an order up: a tool that blocks, and so runs in a thread.
    """
    with operation("execute_tool", "look_up"):
        return f"{order} is on its way"


async def search(text: str) -> str:
    """
    Find a text in the handbook.
    """
    with operation("embeddings", "tiny"):
        await asyncio.sleep(0)
    with operation("retrieval", "handbook"):
        return f"handbook on {text}"


async def researcher(question: str) -> str:
    """
    Run the agent that gathers facts.
    """
    with operation("invoke_agent", "researcher"):
        found = await asyncio.gather(asyncio.to_thread(look_up, question), search(question))
        return await ask_model("; ".join(found))


async def writer(facts: str) -> str:
    """
    Run the agent that answers. The span of the review sets its own customer.
    """
    with operation("invoke_agent", "writer"):
        draft = await ask_model(facts)
        with operation("chat", "reviewer", **{"customer.id": "house"}):
            return draft


async def converse(session: str, user: str, customer: str, question: str) -> str:
    """
    Hold one conversation; only this function names its session, user and customer.
    """
    async with session_context(session, user, customer_id=customer):
        with operation("invoke_workflow", "support"):
            return await writer(await researcher(question))


async def main() -> None:
    await asyncio.gather(
        converse("chat-1", "alice", "acme", "order 7"),
        converse("chat-2", "bob", "globex", "order 8"),
    )


if __name__ == "__main__":
    asyncio.run(main())
