"""
FastAPI with a middleware of your own that reads the session from another place, here a
query parameter. A value that is no session ID counts as none, and the ID that was minted
for the request stays. (For a query parameter a policy is enough:
``session_spec(sources=["X-Session-ID", Query("session")])``.)

    uvicorn --app-dir examples --no-proxy-headers session_middleware:app
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import BackgroundTasks, FastAPI, Request, Response

from idlanyard import context, extract, identify
from idlanyard.integrations.fastapi import install

app = FastAPI()
install(app)
done: list[str] = []


@app.middleware("http")
async def attach_session(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    sent = request.query_params.get("session")
    # identify would raise for a value that is no ID, and the response would be a 500.
    identify(session_id=extract({"session_id": sent}).session_id)
    return await call_next(request)


def background_process() -> None:
    """
    Work after the response, which reads the session by itself.
    """
    done.append(context.get())


@app.get("/")
def hello(tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(background_process)
    return {"session_id": context.get()}


@app.get("/done")
def what_was_done() -> list[str]:
    return done
