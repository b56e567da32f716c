"""
Names of the Redis keys in a namespace, and rows read from the fields of a session. Pure.

Each name has a hash tag, one of 64, chosen by the session's key. A session and
its client's index are therefore in the same slot of a cluster, and one script
can change both; all sessions together are spread over the slots of 64 tags.

- ``{namespace:tag}:session:key`` is a session, ``...:ended:nonce`` one that
  was ended a moment ago;
- ``...:client:client_key`` is a client's index, ``...:ends:client_key`` holds
  the times at which its sessions expire, and its gaps;
- ``...:create:digest`` is the claim of an idempotency key, with a tag chosen
  by its digest;
- ``{namespace:layout}`` is the version of this layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from redis.exceptions import InvalidResponse

from idlanyard.registry._record import Kept, Row

TAGS: Final = 64
VERSION: Final = 2
"""
Version of the layout. Version 1 had no version key, no ends and no claims.
"""
FIELDS: Final = ("id", "client", "metadata", "created", "expires")
ALL_FIELDS: Final = (
    *("id", "client", "metadata", "ttl", "created", "expires"),
    *("idempotency", "request"),
)

Fields: TypeAlias = Sequence[bytes | None]
"""
Values of the fields of a session, in the order in which they were asked for.
"""

# A client's key is a SHA-256 digest.
_DIGEST: Final = 32
_INDEX: Final = b"client:"
_ENDS: Final = b"ends:"


class Namespace:
    """
    Names of the keys in one namespace.

    Attributes:
        claims: pattern of the names of all claims.
        client_sets: pattern of the names of all indexes and ends; other names
            match it too, but their keys are no sorted sets.
        sessions: pattern of the names of all sessions.
        version: name of the key with the layout's version.
    """

    __slots__ = (
        "_claims",
        "_clients",
        "_ended",
        "_ends",
        "_sessions",
        "claims",
        "client_sets",
        "sessions",
        "version",
    )

    def __init__(self, namespace: str) -> None:
        tags = [f"{{{namespace}:{tag:02x}}}" for tag in range(TAGS)]
        self._sessions = [f"{tag}:session:".encode() for tag in tags]
        self._clients = [f"{tag}:client:".encode() for tag in tags]
        self._ends = [f"{tag}:ends:".encode() for tag in tags]
        self._ended = [f"{tag}:ended:".encode() for tag in tags]
        self._claims = [f"{tag}:create:".encode() for tag in tags]
        self.claims = f"{{{namespace}:??}}:create:*"
        self.client_sets = f"{{{namespace}:??}}:*"
        self.sessions = f"{{{namespace}:??}}:session:*"
        self.version = f"{{{namespace}:layout}}".encode()

    def session(self, key: bytes) -> bytes:
        """
        Return the name of a session.
        """
        return self._sessions[key[0] % TAGS] + key

    def ended(self, key: bytes, nonce: bytes) -> bytes:
        """
        Return the name that a session gets when it is ended.
        """
        return self._ended[key[0] % TAGS] + nonce

    def index(self, key: bytes, client_key: bytes) -> bytes:
        """
        Return the name of the client's index that holds the session with this key.
        """
        return self._clients[key[0] % TAGS] + client_key

    def ends(self, key: bytes, client_key: bytes) -> bytes:
        """
        Return the name of the ends beside that index.
        """
        return self._ends[key[0] % TAGS] + client_key

    def claim(self, idempotency: bytes) -> bytes:
        """
        Return the name of the claim of an idempotency key.
        """
        return self._claims[idempotency[0] % TAGS] + idempotency

    def indexes_of(self, client_key: bytes) -> list[bytes]:
        """
        Return the names of a client's indexes, in the order of their tags.
        """
        return [start + client_key for start in self._clients]


def ends_of(index: bytes) -> bytes:
    """
    Return the name of the ends beside an index.
    """
    return index[: -_DIGEST - len(_INDEX)] + _ENDS + client_key_of(index)


def index_beside(name: bytes) -> bytes | None:
    """
    Return the name of the index if *name* is that of its ends, else ``None``.
    """
    start = name[: -_DIGEST - len(_ENDS)]
    is_ends = name[len(start) : -_DIGEST] == _ENDS
    return start + _INDEX + client_key_of(name) if is_ends else None


def client_key_of(index: bytes) -> bytes:
    """
    Return the client key at the end of an index's name.
    """
    return index[-_DIGEST:]


def kept_of(fields: Fields) -> Kept:
    """
    Return a session with everything that is kept of it, from its ``ALL_FIELDS``.

    Raises:
        InvalidResponse: the fields are not those of a session.
    """
    name, client, metadata, ttl, created, expires, idempotency, request = fields
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


def row_of(fields: Fields) -> Row:
    """
    Return a session from its ``FIELDS``.

    Raises:
        InvalidResponse: the fields are not those of a session.
    """
    name, client, metadata, created, expires = fields
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
