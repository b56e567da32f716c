"""
The guide that the API comes from: its own code, run against it as it stands.

``custom_session_id_guide.md`` is the guide, byte for byte. Only the host and
the port of its addresses are substituted.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from idlanyard import EVERYONE
from idlanyard.registry import SessionRecord, SessionRegistry
from idlanyard.registry.fastapi import sessions_router
from registry.http_site import Site, by_uvicorn

HERE = Path(__file__).parent
GUIDE = HERE / "custom_session_id_guide.md"
SEEDS = HERE.parents[2] / "shared" / "seeds"
ADDRESS = "localhost:8090"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
MINTED = re.compile(r"session_\d{8}_\d{6}_[0-9a-f]{16}")

# What each block of the guide is; every one of them is run by the test that is named.
MAPPING_BEFORE, MAPPING_AFTER = 0, 1
AUTO, AUTO_REPLY, CUSTOM, CUSTOM_REPLY, SCHEMA, DUPLICATE, DUPLICATE_REPLY = range(2, 9)
CRM, MOBILE, PLATFORMS, WEBHOOK = range(9, 13)
MEANINGFUL, CONTEXT, RETRY, VALIDATE = range(13, 17)
TEST_AUTO, TEST_CUSTOM, TEST_DUPLICATE, TEST_INPUT = range(17, 21)
STILL_WORKS, SWITCH = 21, 22

LANGUAGES = (
    ["", "", "bash", "json", "bash", "json", "json", "bash", "json"]
    + ["python", "javascript", "python", "python"]
    + ["python"] * 4
    + ["bash"] * 4
    + ["python"] * 2
)


class Service:
    """
    The API that the guide describes, served.
    """

    def __init__(self, port: int, registry: SessionRegistry, inputs: list[tuple[str, Any]]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.registry = registry
        self.inputs = inputs

    def code(self, block: int) -> str:
        """
        Return a block, with the host and the port of this service.
        """
        text: str = BLOCKS[block][1]
        return text.replace(ADDRESS, self.address)

    def run(self, *command: str) -> str:
        """
        Run a command in a fresh process, and return what it prints.
        """
        environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*", "CURL_HOME": str(HERE)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bash(self, block: int) -> Any:
        """
        Run a block of curl, and return the JSON that it prints.
        """
        return json.loads(self.run("bash", "-e", "-c", self.code(block)))

    def python(self, block: int, *, before: str = "", after: str = "") -> list[str]:
        """
        Run a block of Python, and return the lines that it prints.

        Args:
            block: which one.
            before: what the block takes for granted.
            after: what calls what it defines.
        """
        text = f"{before}\n{self.code(block)}\n{after}"
        return self.run(sys.executable, "-c", text).splitlines()


@pytest.fixture
def service() -> Iterator[Service]:
    """
    Serve the API at ``/api/v1``; what is sent to sessions is kept.
    """
    inputs: list[tuple[str, Any]] = []

    def on_input(record: SessionRecord, body: dict[str, Any]) -> Any:
        inputs.append((record.session_id, body))
        return {"session_id": record.session_id, "therapist_response": "Tell me more."}

    with SessionRegistry.open("memory://", ttl=24 * 3600) as registry:
        app = FastAPI()
        router = sessions_router(registry, on_input=on_input, authorize=EVERYONE)
        app.include_router(router, prefix="/api/v1")
        with by_uvicorn(app) as port:
            yield Service(port, registry, inputs)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """
    Serve the example, with a view of its own on what it keeps.
    """
    monkeypatch.syspath_prepend(HERE.parents[1] / "examples")
    module = importlib.import_module("registry_app")
    try:
        with (
            SessionRegistry.open(f"sqlite:///{module.folder.name}/sessions.db") as registry,
            by_uvicorn(module.app) as port,
        ):
            yield Service(port, registry, [])
    finally:
        del sys.modules["registry_app"]


def documented(block: int, reply: dict[str, Any]) -> None:
    """
    Check a reply against the one that the guide shows for it.

    Moments differ, and have a Z here; the end of a session's time is told
    besides; what follows the first sentence of the message is about that
    service's own purpose.
    """
    shown = json.loads(BLOCKS[block][1])
    assert reply.keys() - {"expires_at"} == shown.keys()
    reply.pop("expires_at", None)
    moment = "created_at" if "created_at" in shown else "timestamp"
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"
    assert re.fullmatch(form, shown.pop(moment))
    assert re.fullmatch(form + "Z", reply.pop(moment))
    assert shown.pop("message").startswith(reply.pop("message"))
    if MINTED.fullmatch(reply.get("session_id", "")):
        assert re.fullmatch(r"session_\d{8}_\d{6}_[0-9a-f]{8}", shown.pop("session_id"))
        del reply["session_id"]
    assert reply == shown


def test_the_guide_is_the_guide() -> None:
    """
    Every block is known here, and the copy is the original where that is at hand.
    """
    assert [language for language, _ in BLOCKS] == LANGUAGES
    for original in SEEDS.glob("003_*.txt"):
        assert GUIDE.read_bytes() == original.read_bytes()


def test_no_mapping_is_needed(service: Service) -> None:
    """
    Guide, overview: the two sketches are of IDs that are minted, and of one used directly.
    """
    assert re.search(r"session_\d{8}_\d{6}_[0-9a-f]{8}", BLOCKS[MAPPING_BEFORE][1])
    (same,) = set(re.findall(r"user_\d+", BLOCKS[MAPPING_AFTER][1]))
    assert service.registry.create(same).session_id == same


def test_the_commands_and_their_replies(service: Service) -> None:
    """
    Curl gets the replies that the guide shows, the duplicate's among them.
    """
    documented(AUTO_REPLY, service.bash(AUTO))
    documented(CUSTOM_REPLY, service.bash(CUSTOM))
    known = service.registry.get("my_custom_session_001")
    assert known.client_id == "external_client_123"
    assert known.metadata == {"platform": "mobile_app", "external_id": "crm_123456"}
    documented(DUPLICATE_REPLY, service.bash(DUPLICATE))


def test_the_request_schema(service: Service) -> None:
    """
    The schema, sent as it stands, is a request; its ID has a space and brackets.
    """
    sent = json.loads(service.code(SCHEMA))
    url = f"http://{service.address}/api/v1/session/create"
    assert (
        httpx.post(url, json=sent, trust_env=False, timeout=60).json()["session_id"]
        == "string (optional)"
    )
    assert service.registry.get("string (optional)").metadata == {"key": "value"}


def test_the_crm_creates_and_sends(service: Service) -> None:
    """
    The CRM's own ID is the session's, and input without it in the body is taken.
    """
    assert service.python(CRM) == ["Session created: crm_user_12345"]
    assert service.inputs == [("crm_user_12345", {"user_input": "I want to feel calm"})]
    assert service.registry.get("crm_user_12345").client_id == "12345"


def test_the_mobile_application_creates(service: Service) -> None:
    """
    Guide, example 2: the JavaScript runs under node.
    """
    printed = service.run("node", "--input-type=module", "-e", service.code(MOBILE))
    assert printed == "Session: mobile_user_456_device_abc\n"
    known = service.registry.get("mobile_user_456_device_abc")
    assert known.client_id == "user_456"
    assert known.metadata["app_version"] == "2.1.0"


def test_a_user_has_sessions_on_two_platforms(service: Service) -> None:
    """
    Guide, example 3: each platform has its own session of the one user, with its metadata.
    """
    web, mobile = service.python(PLATFORMS)
    assert re.fullmatch(r"web_user_789_\d{8}_\d{6}", web)
    assert re.fullmatch(r"mobile_user_789_\d{8}_\d{6}", mobile)
    assert service.registry.get(web).metadata["browser"] == "chrome"
    assert service.registry.get(mobile).metadata["os_version"] == "iOS 17"
    found = service.registry.find(client_id="user_789")
    assert {record.session_id for record in found} == {web, mobile}


def test_the_platforms_can_send_messages(service: Service) -> None:
    """
    Guide, example 3: the manager's second method, which its own code never calls, works too.
    """
    after = "print(manager.send_message(web_session['session_id'], 'calm')['session_id'])"
    web, _, answered = service.python(PLATFORMS, after=after)
    assert answered == web
    assert service.inputs == [(web, {"user_input": "calm"})]


@contextmanager
def webhook(service: Service, folder: Path) -> Iterator[str]:
    """
    Serve the guide's Flask application, and yield its address.
    """
    folder.joinpath("webhook.py").write_text(service.code(WEBHOOK), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    environment |= {"PYTHONPATH": str(folder), "NO_PROXY": "*", "no_proxy": "*"}
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        folder.joinpath("output").open("wb") as log,
    ):
        words = f"-m gunicorn --no-control-socket -b fd://{listening.fileno()} webhook:app"
        process = subprocess.Popen(
            [sys.executable, *words.split()],
            cwd=folder,
            env=environment,
            pass_fds=[listening.fileno()],
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait(30)


def test_the_webhook_starts_sessions(service: Service, tmp_path: Path) -> None:
    """
    The Flask application, served, starts a session, and hands on what a duplicate is told.
    """
    sent = {
        "external_id": "e1",
        "system_name": "crm",
        "timestamp": "2025-10-15T08:34:11",
        "user_info": {"user_id": "u1", "name": "John Doe"},
    }
    with webhook(service, tmp_path) as address, httpx.Client(trust_env=False, timeout=30) as client:
        started = client.post(f"{address}/webhook/therapy/start", json=sent)
        again = client.post(f"{address}/webhook/therapy/start", json=sent)
        nobody = client.post(f"{address}/webhook/therapy/start", json={"external_id": "e2"})
    assert (started.status_code, started.json()["session_id"]) == (200, "webhook_e1")
    known = service.registry.get("webhook_e1")
    assert (known.client_id, known.metadata["source"]) == ("u1", "webhook")
    assert known.metadata["name"] == "John Doe"
    assert (again.status_code, again.json()["success"]) == (400, False)
    assert "'webhook_e1' already exists" in again.json()["error"]["message"]
    # Its user_id is null then, and so is what the metadata has of the system.
    assert nobody.status_code == 200
    assert service.registry.get("webhook_e2").client_id is None


class Assigned(dict[str, Any]):
    """
    The names of a program, and everything that ``session_id`` ever was.
    """

    def __init__(self, **names: Any) -> None:
        super().__init__(names)
        self.ids: list[str] = []

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name == "session_id":
            self.ids.append(value)


def test_the_ids_that_the_guide_names_are_ids(service: Service) -> None:
    """
    The IDs that the guide calls good and those it warns of are all IDs.

    The block only assigns, one after the other; it calls no service.
    """
    names = Assigned()
    exec(service.code(MEANINGFUL), names)
    assert len(names.ids) == 6
    for session_id in names.ids:
        assert service.registry.create(session_id).session_id == session_id


def test_the_ids_with_context_are_ids(service: Service) -> None:
    """
    Each pattern of the block, filled in, is an ID.

    The block is three expressions whose names it does not define.
    """
    filled = {"platform": "web", "user_id": "12345", "timestamp": "20251015", "env": "prod"}
    patterns = re.findall(r'^f".*?"', service.code(CONTEXT), re.MULTILINE)
    exec(service.code(CONTEXT), dict(filled))
    ids = [eval(pattern, dict(filled)) for pattern in patterns]
    assert ids == ["web_12345", "web_12345_20251015", "prod_web_12345"]
    for session_id in ids:
        assert service.registry.create(session_id).session_id == session_id


def test_the_retry(service: Service) -> None:
    """
    Base, base_1, base_2, then a minted ID; and any other status raises.

    The block takes requests for granted, and only defines.
    """
    calls = "for _ in range(4): print(create_session_with_retry('base')['session_id'])"
    *names, minted = service.python(RETRY, before="import requests", after=calls)
    assert names == ["base", "base_1", "base_2"]
    assert MINTED.fullmatch(minted)
    raising = (
        "try:\n    create_session_with_retry('a\\nb')\nexcept Exception as error:\n    print(error)"
    )
    (failed,) = service.python(RETRY, before="import requests", after=raising)
    assert failed.startswith("Failed: ")
    assert "RequestValidationError" in failed


def test_the_validation(service: Service) -> None:
    """
    The guide's own validator runs, and what it lets pass is an ID.
    """
    printed = service.python(VALIDATE, after="print(validate_session_id(session_id), session_id)")
    assert printed == ["True my_custom_session_001"]
    assert service.registry.create("my_custom_session_001").status == "active"


def test_the_tests_of_the_guide(service: Service) -> None:
    """
    Auto, custom, duplicate and input, in the guide's order, which its own API failed.
    """
    assert MINTED.fullmatch(service.bash(TEST_AUTO)["session_id"])
    assert service.bash(TEST_CUSTOM)["session_id"] == "test_custom_001"
    refused = service.bash(TEST_DUPLICATE)
    assert refused["error"] == "HTTPException"
    assert refused["message"].startswith("Session ID 'test_custom_001' already exists.")
    assert service.bash(TEST_INPUT)["session_id"] == "test_custom_001"
    assert service.inputs == [("test_custom_001", {"user_input": "I want to feel calm"})]


def test_the_migration(service: Service) -> None:
    """
    The old way still works, and the new one names the session after the user.

    Both blocks take requests for granted; the second also a database and a user.
    """
    after = "print(response.status_code, response.json()['session_id'])"
    (line,) = service.python(STILL_WORKS, before="import requests", after=after)
    status, session_id = line.split()
    assert (status, MINTED.fullmatch(session_id) is not None) == ("200", True)
    before = (
        "import requests\n"
        "class db:\n"
        "    save_mapping = staticmethod(lambda *mapping: print(*mapping))\n"
        "my_user_id = '12345'"
    )
    mapped, line = service.python(SWITCH, before=before, after=after)
    user, minted = mapped.split()
    assert (user, MINTED.fullmatch(minted) is not None) == ("12345", True)
    assert line == "200 user_12345"


def test_the_example_serves_the_commands(example: Service) -> None:
    """
    The guide's own commands, sent to the example as they are printed, get
    the replies that it shows.
    """
    documented(AUTO_REPLY, example.bash(AUTO))
    documented(CUSTOM_REPLY, example.bash(CUSTOM))
    documented(DUPLICATE_REPLY, example.bash(DUPLICATE))
    assert MINTED.fullmatch(example.bash(TEST_AUTO)["session_id"])
    assert example.bash(TEST_CUSTOM)["session_id"] == "test_custom_001"
    assert example.bash(TEST_DUPLICATE)["error"] == "HTTPException"
    answered = example.bash(TEST_INPUT)
    assert answered == {"session_id": "test_custom_001", "heard": "I want to feel calm"}


def test_the_example_serves_the_programs(example: Service, tmp_path: Path) -> None:
    """
    So do its programs, in Python, JavaScript and as a webhook.
    """
    assert example.python(CRM) == ["Session created: crm_user_12345"]
    printed = example.run("node", "--input-type=module", "-e", example.code(MOBILE))
    assert printed == "Session: mobile_user_456_device_abc\n"
    after = "print(manager.send_message(web_session['session_id'], 'calm')['heard'])"
    web, mobile, heard = example.python(PLATFORMS, after=after)
    assert (web[:13], mobile[:16], heard) == ("web_user_789_", "mobile_user_789_", "calm")
    calls = "for _ in range(4): print(create_session_with_retry('base')['session_id'])"
    *names, minted = example.python(RETRY, before="import requests", after=calls)
    assert names == ["base", "base_1", "base_2"]
    assert MINTED.fullmatch(minted)
    status = "print(response.status_code)"
    assert example.python(STILL_WORKS, before="import requests", after=status) == ["200"]
    sent = {"external_id": "e1", "system_name": "crm", "user_info": {"user_id": "u1"}}
    with webhook(example, tmp_path) as address, httpx.Client(trust_env=False, timeout=30) as client:
        started = client.post(f"{address}/webhook/therapy/start", json=sent)
    assert (started.status_code, started.json()["session_id"]) == (200, "webhook_e1")
    known = example.registry.get("webhook_e1")
    assert (known.client_id, known.metadata["source"]) == (None, "webhook")


def test_the_example_keeps_users_apart(example: Service) -> None:
    """
    It is safe to copy: a body names nobody, users have their own
    sessions, and a caller without a user sends input to nobody's sessions and does no more.
    """
    site = Site(int(example.address.rpartition(":")[2]))
    assert site.create(user="alice", session_id="a1", client_id="bob", ttl=10**9).status == 200
    assert site.create(session_id="n1", client_id="alice").status == 200
    assert example.registry.get("a1").client_id == "alice"
    assert example.registry.get("n1").client_id is None
    for user, name, expected in (
        ("alice", "a1", {"read": 200, "touch": 200, "ttl": 403, "input": 200, "end": 200}),
        ("bob", "a1", dict.fromkeys(("read", "touch", "ttl", "input", "end"), 403)),
        ("alice", "n1", dict.fromkeys(("read", "touch", "ttl", "input", "end"), 403)),
        (None, "a1", dict.fromkeys(("read", "touch", "ttl", "input", "end"), 403)),
        (None, "n1", {"read": 403, "touch": 403, "ttl": 403, "input": 200, "end": 403}),
        (None, "unknown", dict.fromkeys(("read", "touch", "ttl", "input", "end"), 403)),
    ):
        site.create(user="alice", session_id="a1")
        assert {
            "read": site.at("GET", name, user=user).status,
            "touch": site.update(name, user=user).status,
            "ttl": site.update(name, user=user, ttl=10**9).status,
            "input": site.input(name, user=user, user_input="x").status,
            "end": site.at("DELETE", name, user=user).status,
        } == expected


def test_meaningful_ids_are_explained_as_a_hazard() -> None:
    """
    The page on meaningful IDs shows what they give away, and what to write instead.
    """
    page = HERE.parents[1].joinpath("docs", "meaningful_ids.md").read_text(encoding="utf-8")
    for suggested in ("crm_user_12345", "mobile_user_456_device_abc", "web_user_789"):
        assert suggested in page
    for instead in ("hmac", "client_id", 'log="hash"', "403"):
        assert instead in page
