"""
Requests that a client sends to the gateway: one journey at a time, or a crowd at once.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from idlanyard._demo.tour.hub import TourEvent
from idlanyard._demo.tour.settings import TourSettings
from idlanyard._demo.tour.wire import CROWD

CROWD_SIZE: Final = 500
_TIMEOUT: Final = 120.0
_STEP: Final = 20


@dataclass(frozen=True)
class Scene:
    """
    A request that a button sends.

    Attributes:
        headers: the headers, besides those of each journey.
        step: the name of an additional step in the gateway.
        token: whether the client has a signed token.
    """

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    step: str = ""
    token: bool = False


_SESSION: Final = {"X-Session-ID": "chat-42"}
SCENES: Final = {
    "none": Scene(),
    "ids": Scene(_SESSION),
    "spoof": Scene({**_SESSION, "X-User-ID": "admin", "X-Tenant-ID": "acme"}),
    "token": Scene(_SESSION, token=True),
    "login": Scene(_SESSION, "login"),
    "rotate": Scene(_SESSION, "rotate"),
    "break": Scene(_SESSION, "break"),
    "partner": Scene(_SESSION, "partner", token=True),
}


class Client:
    """
    The client of the tour.

    Args:
        gateway: the origin of the gateway.
        settings: the key that signs tokens, as a login server has one.
        publish: called with each event.
    """

    def __init__(
        self, gateway: str, settings: TourSettings, publish: Callable[[TourEvent], None]
    ) -> None:
        self._url = gateway
        self._address = urlsplit(gateway)
        self._signer = settings.make_signer("gateway")
        self._publish = publish

    def travel(self, name: str) -> int:
        """
        Send the request of a scene, and return the status of its response.
        """
        scene = SCENES[name]
        journey = f"journey-{secrets.token_hex(4)}"
        headers = {**scene.headers, "X-Request-ID": journey}
        if scene.token:
            headers |= self._sign_token()
        path = f"/checkout?step={scene.step}"
        self._report("begun", journey, scene=name, headers=headers, call=f"POST {path}")
        connection = http.client.HTTPConnection(self._address.netloc, timeout=_TIMEOUT)
        try:
            connection.request("POST", path, headers={**headers, "User-Agent": "client"})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        received = [[name, value] for name, value in response.getheaders()]
        self._report("ended", journey, status=response.status, headers=received, body=body)
        return response.status

    def _sign_token(self) -> dict[str, str]:
        # As a login server would.
        return {
            "X-Signed-User-ID": self._signer.sign("user_id", "alice", self._url),
            "X-Signed-Tenant-ID": self._signer.sign("tenant_id", "acme", self._url),
        }

    async def send_crowd(self) -> dict[str, int]:
        """
        Send requests with different sessions at once, and count the mix-ups.
        """
        counts = {"sent": CROWD_SIZE, "done": 0, "mixed_up": 0, "failed": 0}

        async def send(number: int) -> None:
            session = f"crowd-{number}"
            try:
                async with asyncio.timeout(_TIMEOUT):
                    seen = await self._ask_for_session(session)
            except (OSError, ValueError):
                counts["failed"] += 1
            else:
                counts["mixed_up"] += any(one != session for one in seen)
            counts["done"] += 1
            if counts["done"] % _STEP == 0:
                self._report("crowd", None, **counts)

        self._report("crowd", None, **counts)
        await asyncio.gather(*map(send, range(CROWD_SIZE)))
        return counts

    async def _ask_for_session(self, session: str) -> list[str]:
        """
        Return each session that is seen on the way of one request.

        Raises:
            OSError: there is no connection.
            ValueError: the response is none.
        """
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        try:
            host = self._address.netloc
            lines = [f"GET {CROWD} HTTP/1.1", f"Host: {host}", f"X-Session-ID: {session}"]
            writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.close()
        pairs = (line.partition(": ") for line in head.splitlines())
        echoed = [value for name, _, value in pairs if name.lower() == "x-session-id"]
        seen: dict[str, Any] = json.loads(body)
        return [*echoed, *seen.values()]

    def _report(self, kind: str, journey: str | None, **details: Any) -> None:
        event = {"kind": kind, "service": "client", "at": time.time(), "journey": journey}
        self._publish({**event, **details})
