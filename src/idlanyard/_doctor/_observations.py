"""
The facts that the checks decide on: requests that were sent, their responses, the application.

They are made in a child process and read in another, so that each becomes JSON and back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Lines: TypeAlias = list[tuple[str, str]]
"""
Header lines in their order.
"""

IN_PROCESS: Final = "in process"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """
    A request that the doctor sends.

    Attributes:
        label: the purpose of the request, one of a few fixed words.
        method: its method.
        path: its path, with a query if there is one.
        headers: its header lines.
        session: the session ID among them, or ``""``.
        trailers: header lines after the body; the request has a body then.
        websocket: whether it opens a WebSocket.
    """

    label: str
    method: str = "GET"
    path: str
    headers: Lines = field(default_factory=list[tuple[str, str]])
    session: str = ""
    trailers: Lines = field(default_factory=list[tuple[str, str]])
    websocket: bool = False


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """
    A request and its response.

    Attributes:
        lane: ``"in process"``, or the name of the server.
        probe: the request.
        status: the status of the response; 0 if there is none, 101 for an
            accepted WebSocket.
        headers: the header lines of the response.
        parts: the number of parts of its body.
        fault: the error that ended the request, in words, or ``""``.
        received: the header lines of the request after the middleware, in
            process only.
        bound: the IDs that the middleware bound and their provenances, in
            process only.
        left: the context variables that still have an ID after the response.
        is_late: whether no response was begun in time.
    """

    lane: str
    probe: Probe
    status: int = 0
    headers: Lines = field(default_factory=list[tuple[str, str]])
    parts: int = 0
    fault: str = ""
    received: Lines = field(default_factory=list[tuple[str, str]])
    bound: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    left: list[str] = field(default_factory=list[str])
    is_late: bool = False

    def values(self, name: str) -> list[str]:
        """
        Return the values of a response header, one for each line.
        """
        return list_values(self.headers, name)


def list_values(lines: Iterable[tuple[str, str]], name: str) -> list[str]:
    """
    Return the values of the lines of one header.
    """
    return [value for found, value in lines if found.lower() == name.lower()]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """
    The part of the application's policy that the checks need.

    Attributes:
        session: the header of the session ID, or of another ID that anyone may send.
        identities: the headers of the IDs that need a proof.
        is_minted: whether a request without a session ID gets one.
        is_read: whether the session ID of any client is taken from its header.
        is_echoed: whether responses have the session ID.
        is_logged: whether log lines have it as it is.
        is_signed: whether sessions are signed.
        believes_anybody: whether every public address is trusted.
        trusts_addresses: whether some sender is trusted by its address.
        has_secret: whether some sender is trusted by a shared secret.
        lines: the policy in words.
        excluded: the paths of ``exclude``.
    """

    session: str = "X-Session-ID"
    identities: list[str] = field(default_factory=lambda: ["X-User-ID", "X-Tenant-ID"])
    is_minted: bool = True
    is_read: bool = True
    is_echoed: bool = True
    is_logged: bool = True
    is_signed: bool = False
    believes_anybody: bool = False
    trusts_addresses: bool = False
    has_secret: bool = False
    lines: list[str] = field(default_factory=list[str])
    excluded: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, kw_only=True)
class Application:
    """
    The facts about an application that no request shows.

    Attributes:
        kind: ``"asgi"`` or ``"wsgi"``.
        framework: ``"fastapi"``, ``"starlette"``, ``"flask"``, ``"django"``,
            ``"asgi"`` or ``"wsgi"``.
        layers: the middlewares, the outermost first.
        place: the position of ours among them, or ``None``.
        faults: the messages of Django's system checks about ours, with what to write.
        outgoing: the allow-lists of clients, in words.
        everyone: the integrations that send IDs to every host.
        origins: the origins that the application's CORS rules allow.
        host: the host name that the application accepts, or ``""``.
    """

    kind: str
    framework: str
    layers: list[str] = field(default_factory=list[str])
    place: int | None = None
    faults: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    outgoing: list[str] = field(default_factory=list[str])
    everyone: list[str] = field(default_factory=list[str])
    origins: list[str] = field(default_factory=list[str])
    host: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """
    The facts about a server, as it passes requests to an application.

    Attributes:
        name: the name of the server.
        rewrites_peer: whether a forwarding header replaces the peer's address.
        conflates: whether an alias such as ``X_User_ID`` arrives as the header.
        merges_trailers: whether header lines after the body arrive as headers.
        left: the context variables that still have an ID when the next request
            of a connection arrives.
        output: the lines that the server and the application wrote.
    """

    name: str
    rewrites_peer: bool = False
    conflates: bool = False
    merges_trailers: bool = False
    left: list[str] = field(default_factory=list[str])
    output: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, kw_only=True)
class Observations:
    """
    All facts about one application.

    Attributes:
        application: the application.
        rules: its policy, or the default one if ``is_installed`` is false.
        is_installed: whether the middleware bound the IDs of a request.
        exchanges: the requests and their responses.
        server: the server, or ``None`` if none was started.
        server_sessions: valid session IDs for requests to a server.
    """

    application: Application
    rules: Rules = field(default_factory=Rules)
    is_installed: bool = False
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    server: ServerFacts | None = None
    server_sessions: list[str] = field(default_factory=list[str])


def dump_observations(observations: Observations) -> str:
    """
    Return the observations as JSON.
    """
    return json.dumps(dataclasses.asdict(observations))


def load_observations(text: str) -> Observations:
    """
    Return the observations that ``dump_observations`` wrote, which have no server yet.
    """
    found: dict[str, Any] = json.loads(text)
    application: dict[str, Any] = found["application"]
    application["faults"] = _make_pairs(application["faults"])
    return Observations(
        application=Application(**application),
        rules=Rules(**found["rules"]),
        is_installed=found["is_installed"],
        exchanges=[_load_exchange(one) for one in found["exchanges"]],
        server_sessions=found["server_sessions"],
    )


def _load_exchange(found: dict[str, Any]) -> Exchange:
    probe: dict[str, Any] = found["probe"]
    for name in ("headers", "trailers"):
        probe[name] = _make_pairs(probe[name])
    for name in ("headers", "received"):
        found[name] = _make_pairs(found[name])
    found["probe"] = Probe(**probe)
    found["bound"] = {name: (value, how) for name, (value, how) in found["bound"].items()}
    return Exchange(**found)


def _make_pairs(lists: list[list[str]]) -> Lines:
    return [(first, second) for first, second in lists]
