"""
A message that passes its sender's IDs to another process.

    python examples/consumer.py
"""

from __future__ import annotations

import json
import queue

from idlanyard import dump, get_session_context, restore, session_context

messages: queue.Queue[str] = queue.Queue()

with session_context("chat-42", user_id="alice"):
    messages.put(json.dumps({"job": "greet", "ids": dump()}))

# In the consumer, which may be another machine:
message = json.loads(messages.get())
with restore(message["ids"]):
    print(message["job"], json.dumps(get_session_context().as_dict()))
print(get_session_context().is_empty())
