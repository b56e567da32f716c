"""
Where what is kept. Pure.

Each key has a hash tag, one of 64, that the session's key decides. A session and
its place in its client's index so are in one slot of a cluster, and one script
can change both; all the sessions are spread over the slots of the 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from redis.exceptions import InvalidResponse

from idlanyard.registry._record import Row

TAGS: Final = 64
FIELDS: Final = ("id", "client", "metadata", "created", "expires")

Fields: TypeAlias = Sequence[bytes | None]


class Layout:
    """
    The names of the keys in one namespace.
    """

    __slots__ = ("_clients", "_ended", "_sessions", "indexes")

    def __init__(self, namespace: str) -> None:
        tags = [f"{{{namespace}:{tag:02x}}}" for tag in range(TAGS)]
        self._sessions = [f"{tag}:session:".encode() for tag in tags]
        self._clients = [f"{tag}:client:".encode() for tag in tags]
        self._ended = [f"{tag}:ended:".encode() for tag in tags]
        self.indexes = f"{{{namespace}:??}}:client:*"

    def session(self, key: bytes) -> bytes:
        """
        Return where a session is.
        """
        return self._sessions[key[0] % TAGS] + key

    def ended(self, key: bytes, nonce: bytes) -> bytes:
        """
        Return where a session is put that is forgotten.
        """
        return self._ended[key[0] % TAGS] + nonce

    def index(self, key: bytes, client_key: bytes) -> bytes:
        """
        Return the index that the session with this key is in.
        """
        return self._clients[key[0] % TAGS] + client_key

    def indexes_of(self, client_key: bytes) -> list[bytes]:
        """
        Return all of a client's indexes, by their tags.
        """
        return [start + client_key for start in self._clients]


def client_key_of(index: bytes) -> bytes:
    """
    Return whose index it is.
    """
    return index[-32:]


def row_of(kept: Fields) -> Row:
    """
    Return a session from its ``FIELDS``.

    Raises:
        InvalidResponse: it is none.
    """
    name, client, metadata, created, expires = kept
    try:
        return Row(
            str(name, "utf-8"),  # type: ignore[arg-type]
            None if client is None else str(client, "utf-8"),
            str(metadata, "utf-8"),  # type: ignore[arg-type]
            int(created),  # type: ignore[arg-type]
            None if expires is None else int(expires),
        )
    except (TypeError, ValueError) as error:
        raise InvalidResponse("a key of the namespace has something else in it") from error
