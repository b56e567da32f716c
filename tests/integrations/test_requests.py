"""
requests: the contract, and what adapters and prepared requests remember.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase, HTTPDigestAuth
from urllib3.util import Retry

from idlanyard import IDLanyardError, session_context
from idlanyard.integrations.requests import install
from integrations.outgoing import (
    ALL,
    DEADLINE,
    NONE,
    Client,
    OutgoingContract,
    Sync,
    full,
    listening,
)


@contextmanager
def opened(to: Sequence[str]) -> Iterator[requests.Session]:
    """
    Open a session that has the IDs for some origins.
    """
    with requests.Session() as session:
        session.trust_env = False
        install(session, to=to)
        yield session


class TestRequests(OutgoingContract):
    """
    The contract on a ``Session``.
    """

    @contextmanager
    def open(
        self, to: Sequence[str], *, proxy: str | None = None, authority: str | None = None
    ) -> Iterator[Client]:
        with opened(to) as session:
            session.proxies = {"http": proxy} if proxy else {}
            session.verify = authority or True
            yield Sync(
                lambda url, headers=None: session.get(url, headers=headers, timeout=DEADLINE)
            )


def prepared(url: str, **headers: str) -> requests.PreparedRequest:
    """
    Return a request that can be sent again and again.
    """
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.Request("GET", url, headers=lines).prepare()


def test_one_request_under_two_users() -> None:
    """
    R12: a request that is sent again has the IDs of the second sending; it is not written to.
    """
    with listening() as here, opened([here.origin]) as session:
        request = prepared(f"{here.origin}/", X_Tenant_ID="own")
        with session_context("s1", user_id="a"):
            session.send(request)
        with session_context(user_id="b"):
            session.send(request)
        session.send(request)
    assert here.ids() == [["s1", "a", "own"], ["b", "own"], ["own"]]
    assert dict(request.headers) == {"X-Tenant-ID": "own"}


def test_the_request_of_a_response_is_sent_again() -> None:
    """
    R12: it says what was sent, and sent by somebody else it has that user's IDs.
    """
    with listening() as here, listening() as there, opened([here.origin]) as session:
        with session_context(user_id="a"):
            request = session.get(f"{here.origin}/").request
        assert request.headers["x-user-id"] == "a"
        with session_context(user_id="b"):
            session.send(request)
            session.get(f"{there.origin}/", headers=dict(request.headers))
        with session_context(user_id="c"):
            session.send(request)
            request.headers["X-User-ID"] = "own"
            session.send(request)
    assert (here.ids(), there.ids()) == ([["a"], ["b"], ["c"], ["own"]], [NONE])


def test_the_request_of_an_error_is_sent_again() -> None:
    """
    R12: what could not be sent for one user is not sent for another under the first one's name.
    """
    with listening() as here:
        origin = here.origin
    with opened([origin]) as session:
        with session_context(user_id="a"), pytest.raises(requests.ConnectionError) as caught:
            session.get(f"{origin}/")
        request = caught.value.request
        assert isinstance(request, requests.PreparedRequest)
        assert request.headers["X-User-ID"] == "a"
        with listening() as there:
            request.url = f"{there.origin}/"
            session.send(request)
    assert there.ids() == [NONE]


def test_a_copy_by_pickle_has_plain_headers() -> None:
    """
    R12: who has no idlanyard can read a request that was stored.
    """
    with listening() as here, opened([here.origin]) as session, full():
        response = session.get(f"{here.origin}/", headers={"X-User-ID": "own"})
    stored = pickle.dumps(response)
    assert b"idlanyard" not in stored
    assert pickle.loads(stored).request.headers["X-User-ID"] == "own"


class Plain(HTTPAdapter):
    """
    Notes whether a name is anything but text when it is sent.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        assert {type(name) for name in request.headers} == {str}
        return super().send(request, *args, **kwargs)


def test_an_adapter_gets_plain_names() -> None:
    """
    R12: what records or signs requests inside sees text and nothing of ours.
    """
    with listening() as here, requests.Session() as session, full():
        session.mount("http://", Plain())
        install(session, to=[here.origin])
        request = prepared(f"{here.origin}/", X_User_ID="own")
        session.send(request)
        session.send(session.send(request).request)
    assert here.ids() == [["s1", "own", "t1"]] * 3


def test_a_retrying_adapter_stays_inside() -> None:
    """
    R12: each attempt of the caller's own adapter has each ID once.
    """
    retrying = HTTPAdapter(max_retries=Retry(1, status_forcelist=[503], backoff_factor=0))
    with listening() as here, requests.Session() as session:
        session.mount("http://", retrying)
        install(session, to=[here.origin])
        with full():
            assert session.get(f"{here.origin}/busy").status_code == 200
    assert here.ids() == [ALL, ALL]


def test_a_prefix_is_no_origin() -> None:
    """
    S13: an adapter mounted for ``http://localhost:80`` serves ``http://localhost:8000`` as well.
    """
    with listening() as here, requests.Session() as session:
        listed = here.origin[:-1]
        session.mount(listed, HTTPAdapter())
        install(session, to=[listed])
        with full():
            session.get(f"{here.origin}/")
            session.get(f"{listed}@127.0.0.1:{here.port}/")
    assert here.ids() == [NONE, NONE]


def test_authentication_sends_twice() -> None:
    """
    R12: both sendings of one request have each ID once.
    """
    with listening() as here, opened([here.origin]) as session, full():
        answer = session.get(f"{here.origin}/login", auth=HTTPDigestAuth("me", "word"))
    assert answer.status_code == 200
    assert here.ids() == [ALL, ALL]


class Fetching(AuthBase):
    """
    Sends the request to another server too, as some authentications do.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", self._fetch)
        return request

    def _fetch(self, response: requests.Response, **kwargs: Any) -> requests.Response:
        another = response.request.copy()
        another.url = self._url
        response.connection.send(another, **kwargs)
        return response


def test_authentication_decides_for_each_request() -> None:
    """
    R12: what goes through the connection of a response is decided as well.
    """
    with listening() as here, listening() as tokens, opened([here.origin]) as session, full():
        session.get(f"{here.origin}/", auth=Fetching(f"{tokens.origin}/"))
    assert (here.ids(), tokens.ids()) == ([ALL], [NONE])


class Answering(BaseAdapter):
    """
    An adapter that answers by itself and says nothing of a connection.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        response = requests.Response()
        response.status_code = 204
        response.url = str(request.url)
        response.request = request
        request.headers.pop("X-User-ID")
        return response

    def close(self) -> None: ...


def test_an_adapter_that_answers_by_itself() -> None:
    """
    R12: an adapter without a connection, which takes a header out, works as it did.
    """
    with requests.Session() as session, full():
        session.mount("http://", Answering())
        install(session, to=["http://api.internal"])
        response = session.get("http://api.internal/")
    assert response.status_code == 204
    assert "connection" not in vars(response)
    assert "X-User-ID" not in response.request.headers


def test_the_wrapper_looks_like_the_adapter() -> None:
    """
    R11: attributes are read and set on the caller's adapter.
    """
    adapter = HTTPAdapter(max_retries=3)
    with requests.Session() as session:
        session.mount("https://", adapter)
        install(session, to=[])
        mounted: Any = session.get_adapter("https://a.example/")
        assert mounted.max_retries.total == 3
        mounted.max_retries = Retry(5)
        assert adapter.max_retries.total == 5


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_session_can_be_copied(again: Any) -> None:
    """
    R11: a copy of a session has the IDs too, for process pools.
    """
    with listening() as here, opened([here.origin]) as session, again(session) as copied, full():
        copied.get(f"{here.origin}/")
    assert here.ids() == [ALL]


def test_install_and_undo_can_be_repeated() -> None:
    """
    R11: the same origins wrap what is new, others are refused, and undoing gives all back.
    """
    with requests.Session() as session:
        before = dict(session.adapters)
        undo = install(session, to=["https://a.example"])
        added = HTTPAdapter()
        session.mount("https://a.example/v1", added)
        again = install(session, to=["https://a.example"])
        assert session.get_adapter("https://a.example/v1/x") is not added
        with pytest.raises(IDLanyardError, match="install once"):
            install(session, to=["https://b.example"])
        again()
        assert list(session.adapters.items()) == [("https://a.example/v1", added), *before.items()]
        undo()
        install(session, to=["https://b.example"])
        undo()
        assert session.get_adapter("https://b.example/") is not before["https://"]


def test_what_somebody_has_wrapped_in_turn_is_out_of_the_way() -> None:
    """
    R11: after undoing, a wrapper that cannot be reached lets nothing through.
    """

    class Around(BaseAdapter):
        def __init__(self, inner: BaseAdapter) -> None:
            super().__init__()
            self._inner = inner

        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
            return self._inner.send(request, *args, **kwargs)

        def close(self) -> None:
            self._inner.close()

    with listening() as here, requests.Session() as session, full():
        undo = install(session, to=[here.origin])
        session.mount("http://", Around(session.get_adapter("http://")))
        session.get(f"{here.origin}/")
        undo()
        session.get(f"{here.origin}/")
    assert here.ids() == [ALL, NONE]


class Strange:
    """
    A client of somebody else's.
    """

    class Session:
        """
        Called as the one of requests is.
        """


@pytest.mark.parametrize(
    ("session", "kind"),
    [
        pytest.param(object(), "builtins.object", id="an object"),
        pytest.param(requests, "builtins.module", id="the module"),
        pytest.param(Strange.Session(), f"{__name__}.Strange.Session", id="another Session"),
    ],
)
def test_something_else_is_refused(session: Any, kind: str) -> None:
    """
    R14: what is no session of requests raises, by its full name, and is told what to write.
    """
    with pytest.raises(TypeError, match=rf"not {kind}: .* write inject\(headers, to=\["):
        install(session, to=[])
