"""
The tour starts real services, shows real requests, and leaves no process behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import select
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from idlanyard.__main__ import main
from idlanyard._demo.tour.child import make_wsgi_service
from idlanyard._demo.tour.hub import Hub, TourEvent
from idlanyard._demo.tour.jobs import JOB, make_jobs
from idlanyard._demo.tour.journeys import CROWD_SIZE, Client
from idlanyard._demo.tour.page import find_refusal
from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.services import Service, ServiceEnded, wait_until_ready
from idlanyard._demo.tour.settings import TourSettings
from idlanyard.integrations import celery
from ports import free_port
from tour.touring import DEADLINE, Listener, Tour, touring

KILLED = """
import queue, sys
from idlanyard._demo.tour.reporting import Reporter
from idlanyard._demo.tour.services import Service, wait_until_ready
from idlanyard._demo.tour.settings import TourSettings

news = queue.Queue()
worker = Service("worker", TourSettings(sys.argv[1]), print, news)
wait_until_ready(1, news)
print(worker.process.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def tour() -> Iterator[Tour]:
    """
    Return one tour for the tests of this file, which Ctrl-C ends while a page listens.
    """
    with touring() as running:
        yield running
        listener = Listener(running.url)
        out, errors = running.interrupt()
        assert (running.process.returncode, out.splitlines()[-1:]) == (0, ["stopped"]), errors
        listener.join()


@pytest.fixture
def folder() -> Iterator[str]:
    """
    Return a folder for a queue, which is gone when its worker has ended.
    """
    path = tempfile.mkdtemp()
    yield path
    assert not Path(path).exists()


class Journey:
    """
    One request through a tour, whose services tell of it in any order, and late.
    """

    def __init__(self, tour: Tour, scene: str) -> None:
        self._listener = Listener(tour.url)
        assert tour.post(f"journeys/{scene}")["status"] == (502 if scene == "break" else 200)
        self.events = list[dict[str, Any]]()
        self._name: str | None = None
        self._name = self.one("begun", "client")["journey"]

    def one(self, kind: str, service: str, **having: object) -> dict[str, Any]:
        """
        Return the first event of a kind of a service, as soon as it is there.
        """
        wanted = {"kind": kind, "service": service, **having}.items()
        for position in count():
            if position == len(self.events):
                self.events.append(self._take())
            if wanted <= self.events[position].items():
                return self.events[position]
        raise AssertionError("the count ends nowhere")

    def _take(self) -> dict[str, Any]:
        """
        Return the next event that is no other request's.
        """
        while True:
            event = self._listener.take()
            if event["kind"] == "begun" or event["journey"] in (self._name, None):
                return event

    def ids_at(self, service: str) -> dict[str, list[str]]:
        """
        Return the IDs that a service saw, without that of the request.
        """
        ids: dict[str, list[str]] = self.one("arrived", service)["ids"]
        return {name: found for name, found in ids.items() if name != "request_id"}


def test_the_tour_begins_as_the_page_shows(tour: Tour) -> None:
    """
    docs/tour.md has the command, and the lines that it prints.
    """
    page = Path(__file__).parents[2].joinpath("docs", "tour.md").read_text(encoding="utf-8")
    assert "\npython -m idlanyard demo\n" in page
    assert f"\n```text\n{re.sub(r':[0-9]+/', ':8765/', tour.printed)}```\n" in page


def test_a_session_is_minted_and_travels_to_every_service(tour: Tour) -> None:
    """
    Without IDs all services have the session that the gateway has minted.
    """
    journey = Journey(tour, "none")
    minted, how = journey.ids_at("gateway")["session_id"]
    assert how == "minted"
    for service in ("shop", "billing", "worker"):
        assert journey.ids_at(service) == {"session_id": [minted, "client"]}
    assert ["x-session-id", minted] in journey.one("ended", "client")["headers"]
    assert journey.one("answered", "shop")["headers"]["X-Session-ID"] == minted
    assert journey.one("span", "worker")["attributes"]["session.id"] == minted


def test_every_service_continues_one_trace(tour: Tour) -> None:
    """
    The spans of the gateway, the shop, its job and billing have the trace that the gateway begins;
    the third party hears of none.
    """
    journey = Journey(tour, "partner")
    traces = {
        journey.one("span", service, name=name)["trace"]
        for service, name in (
            ("gateway", "checkout"),
            ("shop", "orders"),
            ("worker", "receipt"),
            ("billing", "invoices"),
        )
    }
    assert len(traces) == 1
    header = journey.one("arrived", "shop")["wire"]["Traceparent"]
    assert header.split("-")[1] in traces
    assert "Traceparent" not in journey.one("arrived", "partner")["headers"]


def test_a_spoofed_user_reaches_nobody(tour: Tour) -> None:
    """
    The gateway removes the header, and no service sees a user.
    """
    journey = Journey(tour, "spoof")
    assert journey.one("arrived", "gateway")["removed"] == ["X-Tenant-ID", "X-User-ID"]
    assert journey.one("refused", "gateway")["field"] == "user_id"
    for service in ("gateway", "shop", "billing", "worker"):
        assert journey.ids_at(service) == {"session_id": ["chat-42", "client"]}


def test_a_token_is_believed_and_each_hop_has_its_own_proof(tour: Tour) -> None:
    """
    The gateway and billing believe signatures, the shop its peer, and the worker a signed job.
    """
    journey = Journey(tour, "token")
    proofs = {"gateway": "signed", "shop": "peer", "billing": "signed", "worker": "peer"}
    for service, proof in proofs.items():
        assert journey.ids_at(service)["user_id"] == ["alice", proof]
        assert journey.ids_at(service)["tenant_id"] == ["acme", proof]


def test_a_login_half_way_is_known_from_there_on(tour: Tour) -> None:
    """
    The gateway begins without a user, and the services and the response have it.
    """
    journey = Journey(tour, "login")
    assert "user_id" not in journey.ids_at("gateway")
    assert journey.one("changed", "gateway")["ids"]["user_id"] == ["alice", "code"]
    assert journey.ids_at("shop")["user_id"] == ["alice", "peer"]
    assert ["x-user-id", "alice"] in journey.one("ended", "client")["headers"]


def test_a_rotated_session_is_the_one_from_there_on(tour: Tour) -> None:
    """
    The services and the response have the new session.
    """
    journey = Journey(tour, "rotate")
    fresh, how = journey.one("changed", "gateway")["ids"]["session_id"]
    assert (fresh == "chat-42", how) == (False, "code")
    assert journey.ids_at("gateway")["session_id"] == ["chat-42", "client"]
    assert journey.ids_at("worker")["session_id"] == [fresh, "client"]
    assert ["x-session-id", fresh] in journey.one("ended", "client")["headers"]


def test_a_broken_service_keeps_the_session(tour: Tour) -> None:
    """
    The error, the 500 of the shop and the 502 of the gateway have the session.
    """
    journey = Journey(tour, "break")
    assert journey.one("answered", "shop")["status"] == 500
    assert journey.one("answered", "shop")["headers"]["X-Session-ID"] == "chat-42"
    logged = journey.one("log", "shop", error="OutOfStock('the shelf is empty')")
    assert logged["ids"]["session_id"] == "chat-42"
    assert ["x-session-id", "chat-42"] in journey.one("ended", "client")["headers"]
    assert [event for event in journey.events if event.get("error")] == [logged]


def test_a_third_party_gets_no_ids(tour: Tour) -> None:
    """
    The third party has a request without our headers, while the shop has them.
    """
    journey = Journey(tour, "partner")
    assert journey.one("arrived", "partner")["wire"] == {}
    assert "User-Agent" in journey.one("arrived", "partner")["headers"]
    assert journey.ids_at("shop")["user_id"] == ["alice", "peer"]


def test_no_session_of_a_crowd_is_mixed_up(tour: Tour) -> None:
    """
    Of 500 requests at once, none sees the session of another, and the count arrives live.
    """
    listener = Listener(tour.url)
    right = {"sent": CROWD_SIZE, "done": CROWD_SIZE, "mixed_up": 0, "failed": 0}
    assert tour.post("journeys/crowd") == right
    counts = [listener.wait_for(("crowd", "client"))[-1]["done"] for _ in range(CROWD_SIZE // 20)]
    assert counts == sorted(counts)


def test_a_crowd_that_nobody_answers_has_failed() -> None:
    """
    A request without a response counts as failed, and not as right.
    """
    counts = list[TourEvent]()
    with socket.socket() as silent:
        # Bound, so that nobody else listens there.
        silent.bind(("127.0.0.1", free_port()))
        port = silent.getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}", TourSettings(""), counts.append)
        found = asyncio.run(client.send_crowd())
    assert (found["failed"], found["mixed_up"]) == (CROWD_SIZE, 0)
    assert counts[-1]["done"] == CROWD_SIZE


@pytest.mark.parametrize(
    ("path", "kind"),
    [("", "text/html"), ("tour.css", "text/css"), ("view.js", "text/javascript")],
)
def test_the_page_is_served_with_its_policy(tour: Tour, path: str, kind: str) -> None:
    """
    Each file of the page has its type, and forbids whatever is not this origin's.
    """
    with urllib.request.urlopen(tour.url + path, timeout=DEADLINE) as response:
        assert response.headers["Content-Type"].startswith(kind)
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("", {"Host": "attacker.example"}, 403, id="another host"),
        pytest.param("journeys/ids", {"Origin": "http://attacker.example"}, 403, id="another site"),
        pytest.param("journeys/nowhere", {}, 404, id="no such journey"),
    ],
)
def test_a_wrong_request_is_refused(
    tour: Tour, path: str, headers: dict[str, str], status: int
) -> None:
    """
    A page of another site can neither read the tour nor press its buttons.
    """
    own = {"Origin": tour.url.rstrip("/")}
    method = "POST" if path else "GET"
    request = urllib.request.Request(tour.url + path, method=method, headers=own | headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=DEADLINE)
    refused.value.close()
    assert refused.value.code == status


@pytest.mark.parametrize(
    ("method", "headers", "allowed"),
    [
        ("GET", {"host": "127.0.0.1:80"}, True),
        ("GET", {"host": "localhost:80"}, True),
        ("GET", {"host": "127.0.0.1:81"}, False),
        ("GET", {}, False),
        ("POST", {"host": "127.0.0.1:80", "origin": "http://127.0.0.1:80"}, True),
        ("POST", {"host": "127.0.0.1:80", "origin": "http://localhost:80"}, False),
        ("POST", {"host": "127.0.0.1:80", "origin": "null"}, False),
        ("POST", {"host": "127.0.0.1:80"}, False),
    ],
)
def test_requests_of_the_page_itself_are_allowed(
    method: str, headers: dict[str, str], allowed: bool
) -> None:
    """
    The host is this machine's, and a button's request has the page's own origin.
    """
    assert (find_refusal(method, headers, 80) is None) == allowed


def test_services_end_with_the_process_that_has_started_them(folder: str) -> None:
    """
    A worker ends, and removes the folder of its queue, when its parent is killed.
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        worker = next(int(line) for line in parent.stdout if line.strip().isdigit())
        ended = os.pidfd_open(worker)
        parent.kill()
    poll = select.poll()
    poll.register(ended)
    assert poll.poll(DEADLINE * 1000)
    os.close(ended)


def test_a_service_that_dies_at_start_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The command ends with a sentence that names the service and has its last lines.
    """
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('this machine has no uvicorn today')")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    assert main(["demo", "--tour", "--port", "0"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("The tour has ended: the ")
    assert "ended with status 1; it wrote last:\n" in errors
    assert errors.endswith("  this machine has no uvicorn today\n")


def test_a_service_that_is_killed_is_described(tmp_path: Path) -> None:
    """
    The end of a service is news, and so is its status.
    """
    news: queue.Queue[Service] = queue.Queue()
    service = Service("partner", TourSettings(str(tmp_path)), list[TourEvent]().append, news)
    wait_until_ready(1, news)
    service.process.kill()
    with pytest.raises(ServiceEnded, match=r"^the partner ended with status -9$"):
        wait_until_ready(1, news)
    service.ask_to_stop()
    service.stop()


def test_no_worker_sees_half_of_a_message(tmp_path: Path) -> None:
    """
    A message that is published is one complete file, and no other is left beside it.
    """
    jobs = make_jobs(TourSettings(str(tmp_path)))
    jobs.send_task(JOB)
    celery.install(jobs)()
    jobs.close()
    published = [path for path in tmp_path.iterdir() if path.suffix != ".exchange"]
    assert [path.suffixes for path in published] == [[".celery", ".msg"]]
    # Kombu's own name begins with milliseconds, in fewer digits.
    assert re.match(r"\d{20}_", published[0].name)
    assert json.loads(published[0].read_text())["headers"]["task"] == JOB


def test_the_third_party_knows_nothing_of_the_ids() -> None:
    """
    Its application is no middleware of ours, and answers a request without any header.
    """
    reading, writing = os.pipe()
    started = list[str]()

    def start_response(status: str, headers: object) -> None:
        started.append(status)

    reporter = Reporter("partner", writing)
    tracer = trace.NoOpTracer()
    app = make_wsgi_service("partner", TourSettings(""), reporter, tracer)
    assert [*app({"PATH_INFO": "/rates/j1"}, start_response)] == [b"1.07"]
    assert started == ["200 OK"]
    reporter.close()
    with os.fdopen(reading) as stream:
        arrived = json.loads(stream.readline())
    assert (arrived["journey"], arrived["ids"], arrived["headers"]) == ("j1", {}, [])


def test_a_service_that_does_not_start_is_not_awaited_for_ever() -> None:
    """
    After the limit the tour says so.
    """
    with pytest.raises(ServiceEnded, match="did not start within 0 seconds"):
        wait_until_ready(1, queue.Queue(), 0)


def test_a_port_in_use_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing is started, and the sentence says what to write.
    """
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--tour", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"Port {port} of 127.0.0.1 is in use: write --port 0 for a free one.\n"
    )


def test_a_missing_package_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without a package of a service the command says in a sentence what to install.
    """
    kept = sys.modules.get("celery")
    sys.modules["celery"] = None  # type: ignore[assignment]
    try:
        assert main(["demo", "--tour"]) == 2
    finally:
        del sys.modules["celery"]
        if kept is not None:
            sys.modules["celery"] = kept
    assert capsys.readouterr().err.startswith("The demo needs celery: install it")


def test_a_page_that_comes_after_the_end_gets_no_events() -> None:
    """
    Listening to a hub that is closed ends at once.
    """

    async def listen() -> list[TourEvent]:
        hub = Hub()
        hub.close()
        return [event async for event in hub.listen()]

    assert asyncio.run(listen()) == []
