"""
The middlewares, each in a lane of its own, and the time that they add to requests.

A lane has its own copy of the application and of the loop that drives it, since code
objects share the interpreter's inline caches. Header objects are new for each request, as
from a server's parser: bytes that are used again hide the time of hashing them.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, ContextVar
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from idlanyard import Policy, get_session_id, get_tenant_id, get_user_id
from idlanyard.asgi import SessionContextMiddleware as ASGIMiddleware
from idlanyard.wsgi import SessionContextMiddleware as WSGIMiddleware

if TYPE_CHECKING:
    from profiles import Profiles, Request, Response

Make = Callable[[Any], Any]
Added = dict[str, float]

OURS, FLOOR, PEER, PEERS = "idlanyard", "floor", "asgi-correlation-id", "asgi-correlation-id x 3"
TRUSTED = "10.0.0.0/8"
TRUSTING = Policy(trusted_peers=[TRUSTED])
FOREIGN = [ContextVar[object](f"foreign_{number}") for number in range(3)]
# Requests of one slice, the first of which warm up.
SLICE = 25
WARMING = 3


class Pair(NamedTuple):
    """
    A request and the response to it, by name, and the target that they belong to.
    """

    protocol: str
    path: str
    request: str
    response: str


def load_copy(name: str) -> ModuleType:
    """
    Return a copy of a file in this folder, with code objects of its own.
    """
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def correlate(app: Any, *headers: str) -> Any:
    """
    Return *app* inside asgi-correlation-id, once for each header.
    """
    from asgi_correlation_id import CorrelationIdMiddleware

    for header in headers:
        app = CorrelationIdMiddleware(app, header_name=header)
    return app


CANDIDATES: dict[str, dict[str, Make]] = {
    "ASGI": {
        FLOOR: lambda app: load_copy("floor").asgi_floor(app),
        OURS: lambda app: ASGIMiddleware(app, TRUSTING),
        PEER: lambda app: correlate(app, "X-Session-ID"),
        PEERS: lambda app: correlate(app, "X-Tenant-ID", "X-User-ID", "X-Session-ID"),
    },
    "WSGI": {
        FLOOR: lambda app: load_copy("floor").wsgi_floor(app),
        OURS: lambda app: WSGIMiddleware(app, TRUSTING),
    },
}


class Lane:
    """
    One candidate around its own copy of everything, or the bare application.

    Args:
        protocol: ``"ASGI"`` or ``"WSGI"``.
        make: builds the candidate around an application.
        varying: whether each response has other values than the last one, in new objects.
        chunks: how many chunks the body has; with none it is sent as a whole.
        loop: whether an event loop drives the requests.
    """

    def __init__(
        self,
        protocol: str,
        make: Make | None = None,
        *,
        varying: bool = False,
        chunks: int = 0,
        loop: bool = False,
    ) -> None:
        code: Any = load_copy("driven")
        code.CHUNKS = chunks
        self.response: list[Any] = code.RESPONSE
        prefix = protocol.lower()
        kind = "stream" if chunks else "varying" if varying else "app"
        bare = getattr(code, f"{prefix}_{kind}")
        self.app = bare if make is None else make(bare)
        self.drive = code.drive_loop if loop else getattr(code, f"drive_{prefix}")

    def time_slice(self, requests: list[Any]) -> float:
        """
        Return the nanoseconds of one request, of a slice in a Context with foreign variables.

        A peer that does not reset its variables slows no other that way.
        """

        def run() -> float:
            for variable in FOREIGN:
                variable.set(object())
            self.drive(self.app, requests[:WARMING])
            taken: int = self.drive(self.app, requests[WARMING:])
            return taken / (len(requests) - WARMING)

        return Context().run(run)


def scope_of(request: Request) -> dict[str, Any]:
    """
    Return an ASGI scope of new objects.
    """
    raw = "\n".join(f"{name.lower()}: {value}" for name, value in request.headers).encode("latin-1")
    lines = (line.partition(b": ") for line in raw.split(b"\n")) if raw else ()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": (request.client, 54321),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/api/v1/orders",
        "raw_path": b"/api/v1/orders",
        "query_string": b"page=2",
        "headers": [(name, value) for name, _, value in lines],
        "state": {},
    }


def environ_of(request: Request) -> dict[str, Any]:
    """
    Return a WSGI environ of new objects, with repeated headers joined.
    """
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/api/v1/orders",
        "QUERY_STRING": "page=2",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        # Of a server that may take X_User_ID for X-User-ID, no user would be trusted.
        "SERVER_SOFTWARE": "gunicorn/25.0.0",
        "REMOTE_ADDR": request.client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
    }
    for name, value in request.headers:
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = environ[key] + "," + value if key in environ else value[:1] + value[1:]
    return environ


def lines_of(response: Response) -> list[Any]:
    """
    Return a response's header lines, as ASGI and as WSGI applications write them.
    """
    asgi = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
    return [asgi, list(response.headers)]


def measure(
    profiles: Profiles, protocol: str, rounds: int, *, varying: bool = False
) -> dict[Pair, Added]:
    """
    Return by pair the nanoseconds that each candidate adds to the bare application.
    """
    lanes = {
        name: (Lane(protocol, varying=varying), Lane(protocol, make, varying=varying))
        for name, make in CANDIDATES[protocol].items()
    }
    return measure_lanes(lanes, profiles, protocol, rounds)


def measure_lanes(
    lanes: Mapping[str, tuple[Lane, Lane]], profiles: Profiles, protocol: str, rounds: int
) -> dict[Pair, Added]:
    """
    Return by pair the nanoseconds that the second lane of each candidate adds to its first.

    Every slice of a candidate follows one of the bare application, pairs and
    candidates are in another order each round, and the first round warms up:
    the median of the other rounds' differences counts.
    """
    pairs = [
        (request, response) for request in profiles.requests for response in profiles.responses
    ]
    times: dict[Pair, dict[str, list[float]]] = {}
    gc.collect()
    gc.freeze()
    for turn in range(rounds + 1):
        random.shuffle(pairs)
        for request, response in pairs:
            pair = Pair(protocol, request.path, request.name, response.name)
            for name in random.sample(list(lanes), len(lanes)):
                taken = time_added(lanes[name], request, response, protocol)
                if turn:
                    times.setdefault(pair, {}).setdefault(name, []).append(taken)
    return {pair: medians(by_name) for pair, by_name in times.items()}


def time_added(lanes: Sequence[Lane], request: Request, response: Response, protocol: str) -> float:
    """
    Return the nanoseconds that the second lane takes longer than the first.
    """
    fresh = scope_of if protocol == "ASGI" else environ_of
    lines = lines_of(response)
    taken = []
    for lane in lanes:
        lane.response[:] = lines
        taken.append(lane.time_slice([fresh(request) for _ in range(SLICE)]))
    return taken[1] - taken[0]


def medians(times: dict[str, list[float]]) -> Added:
    """
    Return the median of each candidate's times.

    Interrupted slices of the bare application can make it the slower one, where
    rounds are few: a ratio needs more than nothing.
    """
    return {name: max(1.0, statistics.median(values)) for name, values in times.items()}


def find_path(request: Request, protocol: str) -> str:
    """
    Return the path that the middleware takes with a request: mint, session, trusted or refused.
    """
    found: list[tuple[str | None, str | None]] = []

    def look() -> None:
        found.append((get_session_id(), get_user_id() or get_tenant_id()))

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        look()

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        look()
        return []

    app = asgi_app if protocol == "ASGI" else wsgi_app
    asked = scope_of(request) if protocol == "ASGI" else environ_of(request)
    Lane(protocol).drive(CANDIDATES[protocol][OURS](app), [asked])
    session, asserted = found[0]
    sent = {name.lower(): value for name, value in request.headers}
    if asserted is not None:
        return "trusted"
    if sent.keys() & {"x-user-id", "x-tenant-id"}:
        return "refused"
    return "mint" if session != sent.get("x-session-id") else "session"
