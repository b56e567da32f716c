"""
A LangGraph workflow whose nodes read the IDs of the conversation, which are in none of
their arguments: two conversations at once, and one that is streamed and read later.

    python examples/langgraph_workflow.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

from idlanyard import get_session_context, new_session_id, scoped_iter, session_context


class State(TypedDict, total=False):
    """
    The values that the nodes pass on; the session is not among them.
    """

    input: str
    facts: str
    answer: str


def look_up(state: State) -> State:
    """
    Look an order up: a node that blocks, which LangGraph runs in a thread.
    """
    return {"facts": f"{state['input']} is on its way"}


async def write(state: State) -> State:
    """
    Write the answer.
    """
    await asyncio.sleep(0)
    ids = get_session_context()
    return {"answer": f"{state['facts']} (session {ids.session_id}, user {ids.user_id})"}


graph = StateGraph(State)
graph.add_node("look_up", look_up)
graph.add_node("write", write)
graph.add_edge(START, "look_up")
graph.add_edge("look_up", "write")
graph.add_edge("write", END)
workflow = graph.compile()


async def run_workflow(text: str, user: str, session: str | None = None) -> str:
    """
    Answer in one piece.

    Raises:
        ValueError: *session* is no ID, as when a client has sent it.
    """
    with session_context(session or new_session_id(), user_id=user):
        result = await workflow.ainvoke({"input": text})
        return str(result["answer"])


def stream_workflow(text: str, user: str, session: str) -> AsyncIterator[Any]:
    """
    Answer in pieces; each is made when it is read, with the IDs of this conversation.
    """
    with session_context(session, user_id=user):
        return scoped_iter(workflow.astream({"input": text}, stream_mode="updates"))


async def main() -> None:
    answers = await asyncio.gather(
        run_workflow("order 7", "alice", "chat-1"), run_workflow("order 8", "bob", "chat-2")
    )
    print("\n".join(answers))
    async for update in stream_workflow("order 9", "carol", "chat-3"):
        for node, state in update.items():
            print(node, state.get("answer", "..."), get_session_context().is_empty())


if __name__ == "__main__":
    asyncio.run(main())
