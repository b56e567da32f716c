"""
The requests to a real server, and how that server passes requests to an application.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final, cast

from idlanyard._doctor._asking import Reply, open_connection, send_probe
from idlanyard._doctor._entry import LAST_SESSION, SERVER
from idlanyard._doctor._observations import Exchange, Lines, Observations, Probe, ServerFacts
from idlanyard._doctor._options import Options
from idlanyard._doctor._probes import PREFIX, READ, UNKNOWN_ORIGIN, list_probes
from idlanyard._doctor._servers import Running, Server, run_server

_FORWARDED: Final = "198.51.100.7"
_WORD: Final = "doctor"


def observe_server(
    observations: Observations, server: Server, options: Options, *, port: int | None, more: str
) -> Observations:
    """
    Serve the application, send the requests once more, and add what came of them.

    Raises:
        CannotRun: the server does not start.
    """
    application = observations.application
    host = options.host or application.host or "localhost"
    probes = list_probes(
        observations.rules,
        kind=application.kind,
        sessions=iter(observations.server_sessions),
        token=options.token,
        paths=options.paths,
        headers=options.headers,
        origin=next(filter(None, [options.origin, *application.origins, UNKNOWN_ORIGIN])),
    )
    accepted = {one.probe.path for one in observations.exchanges if one.status == 101}
    # A route that accepts none may fail, and write a line about that.
    probes = [one for one in probes if not one.websocket or one.path in accepted]
    with run_server(server, application.kind, options, port=port, more=more) as running:
        exchanges = [_ask_server(running, probe, host, options.timeout) for probe in probes]
        reading = next(probe for probe in probes if probe.label == READ)
        facts = _find_facts(running, reading, host, options)
    output = running.output
    server_facts = ServerFacts(name=server.name, output=output, **facts)
    return replace(
        observations, exchanges=[*observations.exchanges, *exchanges], server=server_facts
    )


def _ask_server(running: Running, probe: Probe, host: str, timeout: float) -> Exchange:
    with open_connection(running.port, timeout) as connection:
        reply = send_probe(connection, probe, host)
    return Exchange(
        lane=running.server.name,
        probe=probe,
        status=reply.status,
        headers=reply.headers,
        parts=0,
        fault=reply.fault,
    )


def _find_facts(running: Running, reading: Probe, host: str, options: Options) -> dict[str, Any]:
    """
    Return how the server passes requests: the peer, aliases, trailers, and what is left.
    """
    path = f"{PREFIX}{options.token}/{SERVER}"

    def show(headers: Lines, trailers: Lines | None = None) -> dict[str, Any]:
        method = "POST" if trailers else "GET"
        probe = Probe(
            label=SERVER, path=path, method=method, headers=headers, trailers=trailers or []
        )
        with open_connection(running.port, options.timeout) as connection:
            return read_json(send_probe(connection, probe, host))

    last = [(LAST_SESSION, reading.session)]
    with open_connection(running.port, options.timeout) as connection:
        reply = send_probe(connection, reading, host, is_last=False)
        next_one = Probe(label=SERVER, path=path, headers=last)
        # Some servers close the connection, but may go on in the same thread.
        after = show(last) if reply.closes else read_json(send_probe(connection, next_one, host))
    alias = show([("X_Idlanyard_Doctor", _WORD)])
    trailed = show([], [("X-Idlanyard-Doctor", _WORD)])
    return {
        "rewrites_peer": show([("X-Forwarded-For", _FORWARDED)]).get("peer") == _FORWARDED,
        "conflates": "x-idlanyard-doctor" in alias.get("headers", {}),
        "merges_trailers": "x-idlanyard-doctor" in trailed.get("headers", {}),
        "left": after.get("left", []),
    }


def read_json(reply: Reply) -> dict[str, Any]:
    """
    Return the JSON object of a response, or an empty mapping.
    """
    try:
        found: object = json.loads(reply.body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
