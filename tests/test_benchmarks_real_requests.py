"""
The benchmark of real requests measures what it says, and refuses lists that are malformed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import lanes
import profiles
import real_requests

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
BUILT_IN = profiles.load_profiles(profiles.BUILT_IN)
REQUEST = {"name": "a", "path": "mint", "client": "10.0.0.1", "headers": [["host", "a"]]}
IDS = ("x-session-id", "x-user-id", "x-tenant-id")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / "real_requests.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def echo_of(protocol: str, candidate: str, request: profiles.Request) -> dict[str, str]:
    """
    Return the IDs that one candidate echoes.
    """
    code = lanes.load_copy("driven")
    sent: list[Any] = []
    make = lanes.CANDIDATES[protocol][candidate]
    if protocol == "ASGI":

        async def send(message: Any) -> None:
            sent.extend(message.get("headers", ()))

        try:
            make(code.asgi_app)(lanes.scope_of(request), None, send).send(None)
        except StopIteration:
            pass
        sent = [(name.decode(), value.decode()) for name, value in sent]
    else:
        make(code.wsgi_app)(lanes.environ_of(request), lambda _, lines, *__: sent.extend(lines))
    return {name.lower(): value for name, value in sent if name.lower() in IDS}


CASES = [
    (protocol, candidate)
    for protocol in lanes.CANDIDATES
    for candidate in lanes.CANDIDATES[protocol]
]


@pytest.mark.parametrize(("protocol", "candidate"), CASES)
@pytest.mark.parametrize("request_", BUILT_IN.requests, ids=lambda one: one.name)
def test_a_candidate_echoes_what_it_is_measured_for(
    protocol: str, candidate: str, request_: profiles.Request
) -> None:
    """
    Each candidate echoes the IDs of the request that it carries, and mints a session.
    """
    read = {name.lower(): value for name, value in request_.headers if name.lower() in IDS}
    if candidate == lanes.OURS and request_.path == "refused":
        read = {name: value for name, value in read.items() if name == "x-session-id"}
    echo = echo_of(protocol, candidate, request_)
    if candidate in (lanes.PEER, lanes.PEERS):
        # Values that are no UUIDs are replaced, as what is missing is minted.
        assert echo.keys() == set(IDS if candidate == lanes.PEERS else IDS[:1])
    else:
        assert read.items() <= echo.items()
        assert echo.keys() == {"x-session-id", *read}


def test_the_built_in_requests_take_their_paths() -> None:
    """
    Every path has requests, and the middleware takes it with each of them.
    """
    found = real_requests.checked_profiles(profiles.BUILT_IN)
    assert {request.path for request in found.requests} == set(profiles.PATHS)


def test_a_run_prints_writes_and_draws(tmp_path: Path) -> None:
    """
    One table has each protocol and path, the JSON each pair, and both plots each ratio.
    """
    file = tmp_path / "figures.json"
    mine = tmp_path / "mine.json"
    wanted = {request.path: request._asdict() for request in BUILT_IN.requests}
    responses = [response._asdict() for response in BUILT_IN.responses[:2]]
    mine.write_text(json.dumps({"requests": [*wanted.values()], "responses": responses}))
    done = run(
        *("--profiles", mine, "--processes", "2", "--rounds", "1", "--detail"),
        *("--json", file, "--plot", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    table, detail = done.stdout.split("\n\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [" ".join(key) for key in real_requests.TARGETS]
    assert all(row[1] == "2" and row[-1] in ("yes", "no") for row in rows)
    found = json.loads(file.read_text())
    assert len(found["pairs"]) == 4 * 2 * 2 == len(detail.splitlines()) - 2
    assert all(len(pair["added_ns"]) == 2 for pair in found["pairs"])
    bars = [f"{one['mean']:.2f}" for one in found["summary"] if one["over"] == "floor"]
    for theme in ("light", "dark"):
        drawn = ET.parse(tmp_path / f"real_requests_{theme}.svg").iter()
        texts = iter([element.text for element in drawn])
        # In this order; the bar of another candidate between them may happen to say the same.
        assert [bar for bar in bars if bar in texts] == bars


def test_the_example_of_the_page_is_measured(tmp_path: Path) -> None:
    """
    The file that the page shows is one that the benchmark takes, with the path that it says.
    """
    page = ROOT.joinpath("docs", "performance.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    mine = tmp_path / "mine.json"
    mine.write_text(shown)
    done = run("--profiles", mine, "--processes", "1", "--rounds", "1", "--detail", "--varying")
    assert done.returncode == 0, done.stderr
    assert "ASGI trusted | mobile app by our proxy | our JSON" in done.stdout


MALFORMED = {
    "no JSON": ("{", "Expecting property name"),
    "not an object": ([], 'the file is an object with "requests", "responses", not []'),
    "another list": ({"request": []}, 'the file has "request", which is none of "requests", "resp'),
    "no list": ({"requests": {}}, '"requests" is a list with at least one item, not {}'),
    "an empty list": ({"responses": []}, '"responses" is a list with at least one item, not []'),
    "no request": ({"requests": ["a"]}, 'requests[0] is an object with "name", "path", "client"'),
    "a key is missing": (
        {"requests": [{"name": "a"}]},
        'requests[0] has no "path": it needs "name"',
    ),
    "a key too many": (
        {"responses": [{"name": "a", "headers": [], "status": 200}]},
        'has "status"',
    ),
    "two of a name": ({"requests": [REQUEST, REQUEST]}, 'two items of the name "a": give each'),
    "no name": ({"requests": [REQUEST | {"name": ""}]}, 'requests[0]: "name" is a text, not ""'),
    "no such path": (
        {"requests": [REQUEST | {"path": "minted"}]},
        'requests[0]: "path" is one of mint, session, trusted, refused, not "minted"',
    ),
    "another path": (
        {"requests": [REQUEST | {"path": "session"}]},
        '"a" takes the path "mint" in ASGI, not "session": write that, or change its headers or',
    ),
    "no address": (
        {"requests": [REQUEST | {"client": "localhost"}]},
        'requests[0]: "client" is an IP address, not "localhost"',
    ),
    "headers as an object": (
        {"requests": [REQUEST | {"headers": {"host": "a"}}]},
        'requests[0]: "headers" is a list of pairs, not {"host": "a"}',
    ),
    "a header line": (
        {"requests": [REQUEST | {"headers": ["host: a"]}]},
        'as in ["x-session-id", "s1"], not "host: a"',
    ),
    "a line break": (
        {"requests": [REQUEST | {"headers": [["host", "a\nb"]]}]},
        "requests[0]: a header is a pair of texts in latin-1 without line breaks",
    ),
    "not latin-1": (
        {"responses": [{"name": "a", "headers": [["x", "\u20ac"]]}]},
        "responses[0]: a header is a pair of texts in latin-1",
    ),
}


@pytest.mark.parametrize(("content", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_list_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    """
    The error names the file, the item, and what belongs there.
    """
    mine = tmp_path / "mine.json"
    mine.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(profiles.ProfileError) as raised:
        real_requests.checked_profiles(mine)
    assert str(raised.value).startswith(f"{mine}: ")
    assert said in str(raised.value)


@pytest.mark.parametrize("protocol", lanes.CANDIDATES)
def test_the_values_of_a_varying_response_are_others_each_time(protocol: str) -> None:
    """
    ETag, cookies and lengths are never the same again, and all else is.
    """
    lane = lanes.Lane(protocol, varying=True)
    (response,) = [one for one in BUILT_IN.responses if one.name == "static file"]
    lane.response[:] = lanes.lines_of(response)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.extend(message.get("headers", ()))

    for _ in range(2):
        if protocol == "ASGI":
            with pytest.raises(StopIteration):
                lane.app({}, None, send).send(None)
        else:
            lane.app({}, lambda _, lines: sent.extend(lines))
    first, second = sent[: len(sent) // 2], sent[len(sent) // 2 :]
    other = {one[0].lower() for one, two in zip(first, second, strict=True) if one != two}
    varying = ["content-length", "last-modified", "etag"]
    assert other == {name.encode() if protocol == "ASGI" else name for name in varying}


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    """
    The command ends with one line that names the file.
    """
    done = run("--profiles", tmp_path / "none.json")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "none.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_list_that_is_left_out_is_the_built_in_one(tmp_path: Path) -> None:
    """
    Requests of one's own meet the built-in responses.
    """
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"requests": [REQUEST]}))
    found = profiles.load_profiles(mine)
    assert [request.name for request in found.requests] == ["a"]
    assert found.responses == BUILT_IN.responses
