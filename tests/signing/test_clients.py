"""
The signer in httpx, requests and aiohttp, against real servers.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import pytest
import requests
from aiohttp import ClientSession

from idlanyard import IDLanyardError, Policy, restore, session_context, use_policy
from idlanyard._failures import failures
from idlanyard.integrations import aiohttp as ours_for_aiohttp
from idlanyard.integrations import httpx as ours_for_httpx
from idlanyard.integrations import requests as ours_for_requests
from idlanyard.signing import SignedHeader, Signer
from integrations.outgoing import Destination, listening
from signing.forging import KEY, OLD
from signing.test_signer import Failing

SIGN = Signer(keys=[KEY])
USER, TENANT = "X-Signed-User-ID", "X-Signed-Tenant-ID"

Get = Callable[..., object]
"""
Gets a URL: ``get(url, {"X-Own": "header"})``.
"""


def read(server: Destination, field: str = "user_id") -> list[list[str | None]]:
    """
    Return what the server reads in the signed lines of each request that has come.
    """
    name = {"user_id": USER, "tenant_id": TENANT}[field]
    source = SignedHeader(name, field=field, keys=[KEY], audience=server.origin)
    return [[source.verify(line) for line in seen.all(name)] for seen in server.seen]


@contextmanager
def by_httpx(module: Any, to: list[str], sign: Any) -> Iterator[Get]:
    """
    Open a ``Client`` that signs.
    """
    with module.Client(follow_redirects=True, trust_env=False) as client:
        ours_for_httpx.install(client, to=to, sign=sign)
        yield lambda url, headers=None: client.get(url, headers=headers)


@contextmanager
def by_async_httpx(module: Any, to: list[str], sign: Any) -> Iterator[Get]:
    """
    Open an ``AsyncClient`` that signs, for each request.
    """

    async def ask(url: str, headers: Any) -> None:
        async with module.AsyncClient(follow_redirects=True, trust_env=False) as client:
            ours_for_httpx.install(client, to=to, sign=sign)
            await client.get(url, headers=headers)

    yield lambda url, headers=None: asyncio.run(ask(url, headers))


@contextmanager
def by_requests(to: list[str], sign: Any) -> Iterator[Get]:
    """
    Open a ``Session`` that signs.
    """
    with requests.Session() as session:
        session.trust_env = False
        ours_for_requests.install(session, to=to, sign=sign)
        yield lambda url, headers=None: session.get(url, headers=headers)


@contextmanager
def by_aiohttp(to: list[str], sign: Any) -> Iterator[Get]:
    """
    Open a ``ClientSession`` that signs, for each request.
    """

    async def ask(url: str, headers: Any) -> None:
        middlewares = [ours_for_aiohttp.propagate(to=to, sign=sign)]
        async with (
            ClientSession(middlewares=middlewares) as session,
            session.get(url, headers=headers) as response,
        ):
            await response.read()

    yield lambda url, headers=None: asyncio.run(ask(url, headers))


WAYS = {
    "httpx": lambda to, sign=SIGN: by_httpx(httpx, to, sign),
    "httpx2": lambda to, sign=SIGN: by_httpx(httpx2, to, sign),
    "async httpx": lambda to, sign=SIGN: by_async_httpx(httpx, to, sign),
    "async httpx2": lambda to, sign=SIGN: by_async_httpx(httpx2, to, sign),
    "requests": lambda to, sign=SIGN: by_requests(to, sign),
    "aiohttp": lambda to, sign=SIGN: by_aiohttp(to, sign),
}
# aiohttp tells no middleware that a request follows another.
TELLING = [name for name in WAYS if name != "aiohttp"]


@pytest.mark.parametrize("way", WAYS)
def test_a_client_signs(way: str) -> None:
    """
    S23: the server reads user and tenant, signed for itself, once each, beside the plain ones.
    """
    with listening() as here, WAYS[way]([here.origin]) as get:
        with session_context("s1", user_id="alice", tenant_id="acme"):
            get(f"{here.origin}/")
        with session_context(user_id="bob"):
            get(f"{here.origin}/")
        get(f"{here.origin}/")
    assert read(here) == [["alice"], ["bob"], []]
    assert read(here, "tenant_id") == [["acme"], [], []]
    assert here.ids() == [["s1", "alice", "acme"], ["bob"], []]


@pytest.mark.parametrize("way", WAYS)
def test_a_clients_word_is_not_signed(way: str) -> None:
    """
    S1: a user that only a client has named goes on as before, and unsigned.
    """
    undo = use_policy(Policy(trusted_queue=True))
    with listening() as here, WAYS[way]([here.origin]) as get:
        with restore({"X-User-ID": "mallory"}):
            get(f"{here.origin}/")
        with restore({"user_id": ["alice", "peer"]}):
            get(f"{here.origin}/")
    undo()
    assert read(here) == [[], ["alice"]]
    assert here.ids() == [["mallory"], ["alice"]]


@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_elsewhere_loses_the_signature(way: str) -> None:
    """
    S14: hop 1 has it, hop 2 to an origin that is not listed has not, and hop 3 back has it again.
    """
    with (
        listening() as here,
        listening() as there,
        WAYS[way]([here.origin]) as get,
        session_context(user_id="alice"),
    ):
        get(f"{here.origin}/to?{there.origin}/to?{here.origin}/")
    assert (read(here), read(there)) == ([["alice"], ["alice"]], [[]])
    assert there.ids() == [[]]


@pytest.mark.parametrize("way", WAYS)
def test_each_hop_has_a_signature_of_its_own(way: str) -> None:
    """
    S14, S23: a redirect to another origin that is listed is signed for that one.
    """
    with (
        listening() as here,
        listening() as there,
        WAYS[way]([here.origin, there.origin]) as get,
        session_context(user_id="alice"),
    ):
        get(f"{here.origin}/to?{there.origin}/")
    assert (read(here), read(there)) == ([["alice"]], [["alice"]])
    (first,), (second,) = here.seen[0].all(USER), there.seen[0].all(USER)
    assert first != second


@pytest.mark.parametrize("way", WAYS)
def test_the_callers_header_wins(way: str) -> None:
    """
    S15: a user whom the caller names is not signed, and a line that the caller signed stays.
    """
    with listening() as here, WAYS[way]([here.origin]) as get, session_context(user_id="alice"):
        get(f"{here.origin}/", {"x-user-id": "bob"})
        get(f"{here.origin}/", {"x-signed-user-id": "own"})
    assert [seen.all(USER) for seen in here.seen] == [[], ["own"]]
    assert here.ids() == [["bob"], ["alice"]]


@pytest.mark.parametrize("way", TELLING)
def test_the_callers_signature_does_not_follow_a_redirect_elsewhere(way: str) -> None:
    """
    S15: a line that was signed by hand stays with the origin that it was written for.
    """
    with listening() as here, listening() as there, WAYS[way]([here.origin]) as get:
        get(f"{here.origin}/to?{there.origin}/", {USER: "own"})
    assert [seen.all(USER) for seen in (*here.seen, *there.seen)] == [["own"], []]


@pytest.mark.parametrize("way", WAYS)
def test_a_signer_that_fails_fails_no_call(way: str) -> None:
    """
    R14: the call goes out without IDs, and the failure is counted.
    """
    with (
        listening() as here,
        WAYS[way]([here.origin], Failing()) as get,
        session_context(user_id="alice", tenant_id="acme"),
    ):
        get(f"{here.origin}/")
    assert (here.ids(), read(here)) == ([[]], [[]])
    assert sum(failures.values()) == 1


class FailingOnce:
    """
    A signer of users that fails at one of its calls.
    """

    headers: Mapping[str, str] = {"user_id": USER}

    def __init__(self, call: int) -> None:
        self.calls = 0
        self.fails_at = call

    def sign(self, name: str, value: str, url: str) -> str:
        self.calls += 1
        if self.calls == self.fails_at:
            raise LookupError(name)
        return SIGN.sign(name, value, url)


@pytest.mark.parametrize("way", TELLING)
def test_where_a_signer_fails_the_callers_header_follows_no_redirect(way: str) -> None:
    """
    S14, S15: whether the IDs could be signed or not, it stays with the origin it was written for.
    """
    with (
        listening() as here,
        listening() as there,
        WAYS[way]([here.origin], FailingOnce(1)) as get,
        session_context(user_id="alice", tenant_id="acme"),
    ):
        get(f"{here.origin}/to?{there.origin}/", {"X-Tenant-ID": "own"})
    assert (here.ids(), there.ids()) == ([["own"]], [[]])
    assert sum(failures.values()) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", [1, 2])
def test_where_a_signer_fails_no_hop_has_the_ids_of_another(way: str, call: int) -> None:
    """
    S14: the hop that could not be signed has none, and one that is not listed has none anyway.
    """
    with (
        listening() as here,
        listening() as second,
        listening() as there,
        WAYS[way]([here.origin, second.origin], FailingOnce(call)) as get,
        session_context(user_id="alice"),
    ):
        get(f"{here.origin}/to?{second.origin}/to?{there.origin}/")
    signed = [[[]], [["alice"]]]
    assert [read(here), read(second)] == (signed if call == 1 else signed[::-1])
    assert [here.ids(), second.ids()] == (signed if call == 1 else signed[::-1])
    assert (read(there), there.ids()) == ([[]], [[]])


@pytest.mark.parametrize(
    "install",
    [
        pytest.param(lambda sign: ours_for_aiohttp.propagate(to=[], sign=sign), id="aiohttp"),
        pytest.param(
            lambda sign: ours_for_requests.install(requests.Session(), to=[], sign=sign),
            id="requests",
        ),
        pytest.param(
            lambda sign: ours_for_httpx.install(httpx2.Client(), to=[], sign=sign), id="httpx2"
        ),
    ],
)
def test_what_is_no_signer_is_told(install: Callable[[Any], object]) -> None:
    """
    A key, or the class, in place of a signer is refused when it is installed.
    """
    for wrong in (KEY, Signer, object()):
        with pytest.raises(TypeError, match="write sign=Signer"):
            install(wrong)


@pytest.mark.parametrize(
    ("install", "make"),
    [
        pytest.param(ours_for_httpx.install, httpx2.Client, id="httpx2"),
        pytest.param(ours_for_requests.install, requests.Session, id="requests"),
    ],
)
def test_one_client_has_one_signer(install: Any, make: Callable[[], Any]) -> None:
    """
    R12: installing the same again changes nothing, and another signer is refused.
    """
    to = ["https://billing.internal"]
    with make() as client:
        install(client, to=to, sign=SIGN)
        install(client, to=to, sign=Signer(keys=[KEY]))
        for sign in (None, Signer(keys=[OLD])):
            with pytest.raises(IDLanyardError, match="another signer already"):
                install(client, to=to, sign=sign)


def test_a_request_that_is_sent_again_is_signed_anew() -> None:
    """
    R12: the signature of the first sending is replaced, also in requests' own copies.
    """
    with listening() as here, requests.Session() as session, httpx2.Client() as client:
        ours_for_requests.install(session, to=[here.origin], sign=SIGN)
        ours_for_httpx.install(client, to=[here.origin], sign=SIGN)
        with session_context(user_id="a"):
            first = session.get(f"{here.origin}/").request
        request = client.build_request("GET", f"{here.origin}/")
        for user in ("b", "c"):
            with session_context(user_id=user):
                session.send(first)
                client.send(request)
        session.send(first)
        client.send(request)
    assert read(here) == [["a"], ["b"], ["b"], ["c"], ["c"], [], []]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copied_session_signs(copied: Callable[[requests.Session], requests.Session]) -> None:
    """
    A session that is copied or pickled keeps its signer.
    """
    with listening() as here, requests.Session() as session:
        ours_for_requests.install(session, to=[here.origin], sign=SIGN)
        with copied(session) as other, session_context(user_id="alice"):
            other.get(f"{here.origin}/")
    assert read(here) == [["alice"]]
