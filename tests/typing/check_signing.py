"""
Signed IDs as applications use them. Never run: mypy and pyright read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

import httpx2
import requests

from idlanyard import Header, Policy, inject, user_spec
from idlanyard.integrations import aiohttp
from idlanyard.integrations import httpx as for_httpx
from idlanyard.integrations import requests as for_requests
from idlanyard.signing import SignedHeader, Signer

source = SignedHeader("X-Signed", field="user_id", keys=["k" * 32], audience="billing")
header: Header = source
Policy(user=user_spec(sources=[source]))
assert_type(source.verify("line"), str | None)
assert_type(source.explain("line"), str)
SignedHeader("X-Signed", field="user_id", keys=[b"k" * 32], audience=["a", "b"], max_age=60)
SignedHeader("X-Signed", keys=["k"], audience="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
SignedHeader("X-Signed", "user_id", keys=["k"], audience="a")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]

signer = Signer(keys=["k" * 32, b"k" * 32], headers={"user_id": "X-Signed"})
assert_type(signer.sign("user_id", "alice", "https://billing.internal"), str)
assert_type(
    for_httpx.install(httpx2.Client(), to=["https://a.example"], sign=signer), Callable[[], None]
)
for_requests.install(requests.Session(), to=["https://a.example"], sign=signer)
aiohttp.propagate(to=["https://a.example"], sign=signer)
inject({}, to=["https://a.example"], url="https://a.example/", sign=signer)
inject({}, sign="key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Own:
    """
    A signer of the application's.
    """

    headers = {"user_id": "X-Signed"}  # noqa: RUF012

    def sign(self, name: str, value: str, url: str) -> str:
        return f"{name} {value} {url}"


inject({}, to=["https://a.example"], url="https://a.example/", sign=Own())
