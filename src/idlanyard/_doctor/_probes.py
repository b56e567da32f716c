"""
The requests that the doctor sends: for made-up paths, and for those that it was given. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from idlanyard._doctor._observations import Lines, Probe, Rules

PREFIX: Final = "/idlanyard-doctor-"
SPOOFED: Final = "idlanyard-doctor-spoofed"
MINT: Final = "mint"
READ: Final = "read"
SPOOF: Final = "spoof"
ALIAS: Final = "alias"
DUPLICATE: Final = "duplicate"
TRAILER: Final = "trailer"
CORS: Final = "cors"
PREFLIGHT: Final = "preflight"
GIVEN: Final = "given"
METHOD: Final = "method"
WEBSOCKET: Final = "websocket"
UNKNOWN_ORIGIN: Final = "https://idlanyard-doctor.invalid"

# Safe by RFC 9110, and no route takes it by chance.
_WRONG_METHOD: Final = "PROPFIND"


def list_probes(
    rules: Rules,
    *,
    kind: str,
    sessions: Iterator[str],
    token: str,
    paths: Sequence[str],
    headers: Lines,
    origin: str,
) -> list[Probe]:
    """
    Return the requests to send, in their order.

    Args:
        rules: the application's policy, which names the headers.
        kind: ``"asgi"`` or ``"wsgi"``.
        sessions: valid session IDs, each used once.
        token: a word that is in every made-up path.
        paths: the paths that may be called.
        headers: further header lines of the requests for these paths.
        origin: the origin of a page in a browser.
    """
    spoofs = [(name, SPOOFED) for name in rules.identities]
    aliases = [(_alias_of(name), SPOOFED) for name in (rules.session, *rules.identities)]
    asking = [
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", rules.session.lower()),
    ]

    def probe(label: str, headers: Lines, *, path: str = "", method: str = "GET") -> Probe:
        session = next(sessions)
        sent = [(rules.session, session), *headers]
        made_up = f"{PREFIX}{token}/{label}"
        return Probe(
            label=label, path=path or made_up, method=method, headers=sent, session=session
        )

    probes = [
        Probe(label=MINT, path=f"{PREFIX}{token}/{MINT}"),
        probe(READ, []),
        probe(SPOOF, spoofs),
        probe(ALIAS, aliases),
        probe(DUPLICATE, [(rules.session, next(sessions))]),
        _with_trailers(probe(TRAILER, [], method="POST"), spoofs),
        probe(CORS, [("Origin", origin)]),
        _without_session(probe(PREFLIGHT, [("Origin", origin), *asking], method="OPTIONS"), rules),
    ]
    for path in paths:
        probes += [
            probe(GIVEN, [*headers, *spoofs], path=path),
            probe(METHOD, headers, path=path, method=_WRONG_METHOD),
        ]
        if kind == "asgi":
            probes.append(_as_websocket(probe(WEBSOCKET, headers, path=path)))
    return probes


def _alias_of(name: str) -> str:
    return name.replace("-", "_")


def _with_trailers(probe: Probe, trailers: Lines) -> Probe:
    return replace(probe, trailers=trailers)


def _as_websocket(probe: Probe) -> Probe:
    return replace(probe, websocket=True)


def _without_session(probe: Probe, rules: Rules) -> Probe:
    # A browser sends no headers of the page's own with a preflight.
    kept = [line for line in probe.headers if line[0] != rules.session]
    return replace(probe, headers=kept, session="")
