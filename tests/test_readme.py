"""
What the README says is run as it stands.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from idlanyard import Policy
from idlanyard.integrations.fastapi import install
from idlanyard.integrations.logging import SessionContextFilter, SessionContextFormatter

ROOT = Path(__file__).parents[1]
README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
BEFORE, AFTER = re.findall(r"```text\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_the_readme_runs(number: int) -> None:
    """
    The Python that the README shows runs, each block by itself.
    """
    code = compile(BLOCKS[number], f"README block {number}", "exec")
    contextvars.Context().run(exec, code, {"__name__": "readme"})


def interleave(app: FastAPI) -> str:
    """
    Send the app two requests that meet halfway; return what was logged meanwhile.
    """
    logger = logging.getLogger("shop")
    arrived = asyncio.Barrier(2)
    first_of = {"chat-41": asyncio.Event(), "chat-42": asyncio.Event()}

    @app.get("/{session}")
    async def charge(session: str) -> None:
        if session == "chat-42":
            await first_of["chat-41"].wait()
        logger.warning("charging the card")
        first_of[session].set()
        await arrived.wait()
        if session == "chat-41":
            logger.warning("the card was declined")

    async def ask() -> None:
        transport = httpx.ASGITransport(app, client=("10.0.0.5", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            await asyncio.gather(
                *(
                    client.get(f"/{session}", headers={"X-Session-ID": session, "X-User-ID": user})
                    for session, user in (("chat-41", "alice"), ("chat-42", "bob"))
                )
            )

    asyncio.run(ask())
    stream = logger.handlers[0]
    assert isinstance(stream, logging.StreamHandler)
    return str(stream.stream.getvalue())


@pytest.mark.parametrize("installed", [False, True], ids=["before", "after"])
def test_the_log_lines_are_those_of_two_requests(installed: bool) -> None:
    """
    Two interleaved requests log the lines that the README shows, before and after.
    """
    app = FastAPI()
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    if installed:
        install(app, Policy(trusted_peers=["10.0.0.5"]))
        handler.addFilter(SessionContextFilter(default="-"))
        handler.setFormatter(
            SessionContextFormatter("%(levelname)s %(session_id)s %(user_id)s %(message)s")
        )
    logger = logging.getLogger("shop")
    logger.addHandler(handler)
    try:
        assert interleave(app) == (AFTER if installed else BEFORE)
    finally:
        logger.removeHandler(handler)


def test_the_readme_is_short() -> None:
    """
    The README stays under 200 lines, and each question in it has a link.
    """
    assert len(README.splitlines()) < 200
    questions = README.partition("\n## How do I ...\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .*\? \| (.*) \|$", questions, re.MULTILINE)
    assert len(rows) > 10
    assert [row for row in rows if "](" not in row] == []


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_readme_has_its_commands_on_one_line(command: str) -> None:
    """
    Each of the two commands is one line below its mark, where the CI script finds it.
    """
    found = re.findall(rf"<!-- command: {command} -->\n```bash\n([^\n]+)\n```", README)
    assert len(found) == 1
