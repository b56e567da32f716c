"""
Work that publishes its progress, and an endpoint that streams the events of one
session, as server-sent events, to the user of that session.

    uvicorn --app-dir examples --no-proxy-headers session_events_app:app

    curl -N localhost:8000/events -H 'X-Session-ID: chat-1' -H 'X-User-ID: alice'
    curl -X POST localhost:8000/work -H 'X-Session-ID: chat-1' -H 'X-User-ID: alice'
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from idlanyard import Policy, get_session_context, session_spec, user_spec
from idlanyard.integrations.fastapi import RequiredSessionID, RequiredUserID, install

app = FastAPI()
install(
    app,
    Policy(
        # Minted for a request without one, a session would have no listeners.
        session=session_spec(mint=None),
        user=user_spec(required=True),
        trusted_peers=["127.0.0.1"],
    ),
)
Queue = asyncio.Queue[dict[str, str]]
listeners: dict[tuple[str, str], list[Queue]] = {}


def publish(kind: str, **facts: str) -> None:
    """
    Send an event to the listeners of the current session; without a session, to none.
    """
    context = get_session_context()
    if context.session_id is None or context.user_id is None:
        return
    event = {"event": kind, "session_id": context.session_id, **facts}
    # A session ID is no permission: the key has the user, too.
    for queue in listeners.get((context.user_id, context.session_id), ()):
        queue.put_nowait(event)


async def listen(user: str, session: str) -> AsyncIterator[str]:
    """
    Write the events of one session of one user, until the reader leaves.
    """
    queue = Queue()
    queues = listeners.setdefault((user, session), [])
    queues.append(queue)
    try:
        yield ": listening\n\n"
        while True:
            event = await queue.get()
            yield f"event: {event['event']}\ndata: {json.dumps(event)}\n\n"
    finally:
        queues.remove(queue)
        if not queues:
            listeners.pop((user, session), None)


@app.get("/events")
async def events(user: RequiredUserID, session: RequiredSessionID) -> StreamingResponse:
    return StreamingResponse(
        listen(user, session),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def step(fail: bool) -> None:
    """
    Do a part of the work.
    """
    await asyncio.sleep(0)
    publish("step")
    if fail:
        raise LookupError("as asked")


@app.post("/work")
async def work(fail: bool = False) -> dict[str, str]:
    publish("started")
    try:
        await asyncio.create_task(step(fail))
    except LookupError as error:
        publish("finished", status="failed", reason=str(error))
        raise
    publish("finished", status="completed")
    return get_session_context().as_dict()
