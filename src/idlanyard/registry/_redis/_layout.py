"""
Where what is kept. Pure.

Each key has a hash tag, one of 64, that the session's key decides. A session and
its place in its client's index so are in one slot of a cluster, and one script
can change both; all the sessions are spread over the slots of the 64.

- ``{namespace:tag}:session:key`` is a session, ``...:ended:nonce`` one that was
  ended a moment ago;
- ``...:client:client_key`` is a client's index, ``...:ends:client_key`` when
  the sessions in it expire;
- ``...:create:digest`` claims an idempotency key, whose tag its digest decides;
- ``{namespace:layout}`` is the version of all this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from redis.exceptions import InvalidResponse

from idlanyard.registry._record import Kept, Row

TAGS: Final = 64
VERSION: Final = 2
"""
The version of the layout; the first one had neither it, nor scores, nor claims.
"""
FIELDS: Final = ("id", "client", "metadata", "created", "expires")
WHOLE: Final = ("id", "client", "metadata", "ttl", "created", "expires", "idempotency", "request")

Fields: TypeAlias = Sequence[bytes | None]


class Layout:
    """
    The names of the keys in one namespace.
    """

    __slots__ = (
        "_clients",
        "_creates",
        "_ended",
        "_ends",
        "_sessions",
        "creates",
        "indexes",
        "sessions",
        "version",
    )

    def __init__(self, namespace: str) -> None:
        tags = [f"{{{namespace}:{tag:02x}}}" for tag in range(TAGS)]
        self._sessions = [f"{tag}:session:".encode() for tag in tags]
        self._clients = [f"{tag}:client:".encode() for tag in tags]
        self._ends = [f"{tag}:ends:".encode() for tag in tags]
        self._ended = [f"{tag}:ended:".encode() for tag in tags]
        self._creates = [f"{tag}:create:".encode() for tag in tags]
        self.creates = f"{{{namespace}:??}}:create:*"
        self.indexes = f"{{{namespace}:??}}:*"
        self.sessions = f"{{{namespace}:??}}:session:*"
        self.version = f"{{{namespace}:layout}}".encode()

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

    def ends(self, key: bytes, client_key: bytes) -> bytes:
        """
        Return the ends of the sessions in that index.
        """
        return self._ends[key[0] % TAGS] + client_key

    def create(self, idempotency: bytes) -> bytes:
        """
        Return where the create with this idempotency key is claimed.
        """
        return self._creates[idempotency[0] % TAGS] + idempotency

    def indexes_of(self, client_key: bytes) -> list[bytes]:
        """
        Return all of a client's indexes, by their tags.
        """
        return [start + client_key for start in self._clients]


def ends_of(index: bytes) -> bytes:
    """
    Return the ends of the sessions in an index.
    """
    tag = index[: -32 - len(b"client:")]
    return tag + b"ends:" + client_key_of(index)


def index_of(ends: bytes) -> bytes | None:
    """
    Return the index that these are the ends of; ``None`` where it is another key.
    """
    start, kind = ends[: -32 - len(b"ends:")], ends[-32 - len(b"ends:") : -32]
    return start + b"client:" + client_key_of(ends) if kind == b"ends:" else None


def client_key_of(index: bytes) -> bytes:
    """
    Return whose index it is.
    """
    return index[-32:]


def kept_of(kept: Fields) -> Kept:
    """
    Return everything of a session from its ``WHOLE``.

    Raises:
        InvalidResponse: it is none.
    """
    name, client, metadata, ttl, created, expires, idempotency, request = kept
    row = row_of((name, client, metadata, created, expires))
    return Kept(
        row.session_id,
        row.client_id,
        row.metadata,
        None if ttl is None else int(ttl),
        row.created,
        row.expires,
        idempotency,
        request,
    )


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
