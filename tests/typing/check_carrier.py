"""
IDs across processes. Never run: mypy and pyright read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

import httpx
import requests

from idlanyard import (
    SessionContext,
    context,
    dump,
    extract,
    ids,
    inject,
    prepare_request_headers,
    restore,
)
from idlanyard.testing import client_headers, override

headers: dict[str, str] = {}
inject(headers)
inject(headers, to=["https://api.example"], url="https://api.example/items")
prepare_request_headers(headers)
prepare_request_headers(headers, env_headers={"X-Job-ID": "JOB_ID"})


def foreign(
    message: httpx.Headers, request: requests.PreparedRequest, carrier: Mapping[str, str]
) -> None:
    """
    The headers of other libraries will do.
    """
    inject(message)
    inject(request.headers)
    assert_type(extract(carrier), SessionContext)
    assert_type(extract(message), SessionContext)
    assert_type(extract(SessionContext("s1")), SessionContext)


job: Mapping[str, Any] = dump()
with restore(job):
    pass
with restore(None):
    pass

assert_type(context.get(), str)
assert_type(context.get("none"), str)
context.set("s1")
context.clear()


@context.bind
def bound(number: int, session_id: str) -> int:
    """
    A function that gets its *session_id* from what is bound.
    """
    return number + len(session_id)


assert_type(bound(1), int)

assert_type(ids.token(), str)
assert_type(ids.uuid4(), str)
assert_type(ids.uuid7(), str)
assert_type(ids.timestamped(), str)
assert_type(ids.timestamped(prefix="import"), str)
assert_type(ids.safe_filename("a/b"), str)

with override(user_id="u1"):
    pass
assert_type(client_headers(user_id="u1"), dict[str, str])
