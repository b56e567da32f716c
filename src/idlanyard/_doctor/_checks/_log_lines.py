"""
Checks of the lines that the server and the application write: each must have the session ID.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from idlanyard._doctor._checks._exchanges import list_labelled
from idlanyard._doctor._checks._finding import GIVE_A_PATH, INSTALL, Finding
from idlanyard._doctor._observations import Exchange, Observations
from idlanyard._doctor._probes import GIVEN, MINT, PREFLIGHT
from idlanyard._policy.keys import remove_signature

_METHODS: Final = r"\b(?:GET|POST|OPTIONS|PROPFIND|WebSocket)"
_ACCESS: Final = re.compile(rf"{_METHODS} /\S*(?:\"| HTTP/| \d)")
# uvicorn and gunicorn name a logger "uvicorn.error", which also tells of their start.
_ERROR: Final = re.compile(r"(?<![\w.])(?:Exception|Error|Traceback)\b", re.IGNORECASE)
_OF_TRACEBACK: Final = re.compile(
    r"\s|Traceback|[\w.]+(?:Error|Exception|Group)\b|During handling|The above"
)
_LOGGING: Final = (
    "call install() of idlanyard.integrations.logging, and name session_id in the formats: see "
    "docs/logging.md"
)
_FORMAT: Final = "start {server} with --access-logformat '%({header})s %(r)s %(s)s'"
_FILE: Final = "start {server} with --log-config and the file of docs/logging.md"
_OWN_TEXT: Final = (
    "{server} writes these lines itself, without IDs: log requests in the application, serve by "
    "another server, or --skip access-lines"
)
_SERVERS: Final = {"gunicorn": _FORMAT, "hypercorn": _FORMAT, "uvicorn": _FILE}
_LONGEST: Final = 160


def judge_access_lines(observations: Observations) -> Finding:
    """
    Judge the line that the server writes about each request.
    """
    found = [line for line in _about_requests(observations) if _ACCESS.search(line)]
    server = observations.server.name if observations.server else ""
    header = f"{{{observations.rules.session.lower()}}}o"
    write = _SERVERS.get(server, _OWN_TEXT).format(server=server, header=header)
    return _judge_lines(observations, found, write)


def judge_framework_lines(observations: Observations) -> Finding:
    """
    Judge the other lines about a request, such as Django's ``Not Found: /path``.
    """
    lines = _about_requests(observations)
    found = [line for line in lines if not _ACCESS.search(line) and not _is_error(line)]
    return _judge_lines(observations, found, _LOGGING)


def judge_error_lines(observations: Observations) -> Finding:
    """
    Judge the lines about an error that nothing handled.
    """
    failed = [
        one for one in _over_server(observations) if one.status == 500 and one.probe.label == GIVEN
    ]
    if observations.server is not None and not failed:
        return Finding.not_tried("no request failed", GIVE_A_PATH.format("fails with an error"))
    lines = observations.server.output if observations.server else []
    return _judge_lines(observations, [line for line in lines if _is_error(line)], _LOGGING)


def _is_error(line: str) -> bool:
    """
    Return whether a line begins the report of an error; its traceback follows on other lines.
    """
    if _ACCESS.search(line) or _OF_TRACEBACK.match(line):
        return False
    return bool(_ERROR.search(line))


def _judge_lines(observations: Observations, lines: Iterable[str], write: str) -> Finding:
    server, rules = observations.server, observations.rules
    if server is None:
        return Finding.not_tried(
            "no server was started",
            "leave out --server none, and install one, such as uvicorn or waitress",
        )
    if not rules.is_logged:
        return Finding.not_applicable("the policy keeps the ID out of log lines")
    lines = [*lines]
    if not lines:
        return Finding.not_applicable("no such line was written")
    asked = _over_server(observations)
    # An ID that was refused has been replaced by the one on the response.
    echoed = {value for one in asked for value in one.values(rules.session)}
    whole = ({one.probe.session for one in asked} | echoed) - {""}
    # A signed ID is logged without its signature.
    sessions = {remove_signature(session) for session in whole}
    without = [line for line in lines if not any(session in line for session in sessions)]
    if without:
        remedy = write if observations.is_installed else f"{INSTALL}; then {write}"
        return Finding.red(
            f"{len(without)} of {len(lines)} without the ID, as in: {without[0][:_LONGEST]}", remedy
        )
    return Finding.ok(f"the ID is in all {len(lines)}, as in: {lines[0][:_LONGEST]}")


def _over_server(observations: Observations) -> list[Exchange]:
    server = observations.server
    return [one for one in observations.exchanges if server and one.lane == server.name]


def _about_requests(observations: Observations) -> Iterator[str]:
    """
    Return the lines that name the path of a request which had a session ID.
    """
    silent = [*list_labelled(observations, MINT), *list_labelled(observations, PREFLIGHT)]
    unknown = {one.probe.path for one in silent}
    paths = {one.probe.path for one in _over_server(observations)} - unknown
    named = re.compile("|".join(map(_name_path, sorted(paths))) or r"(?!)")
    for line in observations.server.output if observations.server else ():
        if named.search(line) and not _OF_TRACEBACK.match(line):
            yield line


def _name_path(path: str) -> str:
    """
    Return the pattern of a line that names a path, and no longer one.
    """
    # A lone slash is in many lines.
    before = rf"{_METHODS} " if path == "/" else r"(?<![\w.~-])"
    return rf"{before}{re.escape(path)}(?![\w/.~-])"
