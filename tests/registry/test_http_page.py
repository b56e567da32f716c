"""
The page on the registry over HTTP: its programs, behind a network that loses answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from idlanyard import EVERYONE
from idlanyard.registry import SessionRegistry
from idlanyard.registry.fastapi import sessions_router
from registry.http_site import by_uvicorn
from registry.relay import Relay

PAGE = Path(__file__).parents[2].joinpath("docs", "registry_http.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
CALLED = {
    "python": "client = httpx.Client(base_url={url!r}, trust_env=False, timeout=60)\n"
    "reply = create_session(client, {{}})\n"
    "print(reply.text)",
    "javascript": "const reply = await createSession({url!r}, {{}});\n"
    "console.log(await reply.text())",
}
COMMANDS = {
    "bash": ["bash", "-e", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """
    Open a registry of no other test.
    """
    with SessionRegistry.open("memory://") as opened:
        yield opened


@pytest.fixture
def relay(registry: SessionRegistry) -> Iterator[Relay]:
    """
    Serve the API behind a relay.
    """
    app = FastAPI()
    app.include_router(sessions_router(registry, authorize=EVERYONE), prefix="/api/v1")
    with by_uvicorn(app) as port, Relay(port) as relay:
        yield relay


@pytest.mark.parametrize("language", COMMANDS)
def test_a_create_whose_answer_is_lost_is_sent_again(
    language: str, relay: Relay, registry: SessionRegistry
) -> None:
    """
    Each retry of the page survives two lost answers, with one session.
    """
    (block,) = [code for kind, code in BLOCKS if kind == language and "Idempotency-Key" in code]
    url = f"http://127.0.0.1:{relay.port}/api/v1"
    code = block.replace("http://localhost:8090/api/v1", url)
    code += CALLED.get(language, "").format(url=url)
    relay.lose(b"/session/create")
    relay.lose(b"/session/create")
    environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*", "CURL_HOME": "/nonexistent"}
    done = subprocess.run(
        [*COMMANDS[language], code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert relay.lost == 2
    (record,) = registry.walk()
    assert json.loads(done.stdout)["session_id"] == record.session_id


def test_the_page_names_each_status_and_field() -> None:
    """
    The page lists the fields of requests and replies.
    """
    for status in (403, 404, 409, 413, 422, 500, 503):
        assert re.search(rf"^\| {status}\b", PAGE, re.MULTILINE)
    for word in ("`ttl`", "`expires_at`", "`PATCH", "`Allow`", "Send a UUID", "random part"):
        assert word in PAGE
