"""
What each verb of a registry asks of the store, and makes of the answers.

Each is a generator that yields questions, as the name of a store's method
and its arguments, and is sent the answers. It decides, and never waits: the
registries ask, one in its thread, the other on its event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, TypeVar

from idlanyard.exceptions import PolicyError
from idlanyard.ids import timestamped
from idlanyard.registry._exceptions import SessionExists, SessionNotFound
from idlanyard.registry._record import Draft, Row, SessionRecord, record_of
from idlanyard.registry._rules import MOST_BYTES, key_of, metadata_text, microseconds, since_1970

T = TypeVar("T")
Question: TypeAlias = tuple[str, tuple[Any, ...]]
Verb: TypeAlias = Generator[Question, Any, T]

_MINTS: Final = 5
_MOST_ON_A_PAGE: Final = 1000


class Verbs:
    """
    The verbs of one registry.

    Args:
        mint: makes the IDs of sessions created without one.
        validator: refuses custom IDs by raising ``ValueError``.
        ttl: the time to live, in seconds, of sessions created without one.

    Raises:
        PolicyError: an option cannot be followed.
    """

    __slots__ = ("_mint", "_ttl", "_validator")

    def __init__(
        self,
        *,
        mint: Callable[[], str] = timestamped,
        validator: Callable[[str], object] | None = None,
        ttl: float | None = None,
    ) -> None:
        if not callable(mint):
            raise PolicyError.about("mint", "takes a function, such as idlanyard.ids.uuid7", mint)
        if validator is not None and not callable(validator):
            raise PolicyError.about(
                "validator", "takes a function, such as idlanyard.registry.strict", validator
            )
        self._mint = mint
        self._validator = validator
        try:
            self._ttl = None if ttl is None else microseconds(ttl)
        except (TypeError, ValueError) as error:
            raise PolicyError(str(error), option="ttl", value=ttl) from None

    def create(
        self, session_id: object, client_id: object, metadata: object, ttl: object
    ) -> Verb[SessionRecord]:
        """
        Create one session, minting its ID where none is given (S-D1).
        """
        rest = self._rest(client_id, metadata, ttl)
        if session_id is None or session_id == "":
            return (yield from self._minted(rest))
        key = key_of("session_id", session_id)
        text = str(session_id)
        if self._validator is not None:
            self._validator(text)
        row: Row | None = yield "insert", (Draft(key, text, *rest),)
        if row is None:
            raise SessionExists(text)
        return record_of(row)

    def create_or_suffix(
        self, base: object, retries: int, client_id: object, metadata: object, ttl: object
    ) -> Verb[SessionRecord]:
        """
        Try ``base``, ``base_1``, ``base_2`` and so on, then mint (S-D18).
        """
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 1:
            raise ValueError("retries is how many names are tried: write 1 or more")
        key_of("base", base)
        for number in range(retries):
            name = f"{base}_{number}" if number else str(base)
            if len(name.encode()) > MOST_BYTES:
                break
            try:
                return (yield from self.create(name, client_id, metadata, ttl))
            except SessionExists:
                continue
        return (yield from self._minted(self._rest(client_id, metadata, ttl)))

    def get(self, session_id: object) -> Verb[SessionRecord]:
        """
        Return one session.
        """
        return record_of((yield from self._known(session_id, "read")))

    def exists(self, session_id: object) -> Verb[bool]:
        """
        Say whether there is such a session.
        """
        try:
            yield from self._known(session_id, "read")
        except SessionNotFound:
            return False
        return True

    def touch(self, session_id: object, ttl: object) -> Verb[SessionRecord]:
        """
        Let one session live on.
        """
        longer = None if ttl is None else microseconds(ttl)
        return record_of((yield from self._known(session_id, "extend", longer)))

    def end(self, session_id: object, created_at: object) -> Verb[SessionRecord]:
        """
        Forget one session.
        """
        created = None if created_at is None else since_1970(created_at)
        return record_of((yield from self._known(session_id, "delete", created)), "ended")

    def find(self, client_id: object, limit: int, after: str | None) -> Verb[list[SessionRecord]]:
        """
        Return one page of a client's sessions.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError("limit is how many at most: write 1 to 1000")
        if after is not None:
            key_of("after", after)
        question = key_of("client_id", client_id), after, min(limit, _MOST_ON_A_PAGE)
        rows: list[Row] = yield "page", question
        return [record_of(row) for row in rows]

    def purge_expired(self) -> Verb[int]:
        """
        Give up what expired sessions still take.
        """
        purged: int = yield "purge", ()
        return purged

    def _rest(
        self, client_id: object, metadata: object, ttl: object
    ) -> tuple[bytes | None, str | None, str, int | None]:
        """
        Return what a draft has besides its ID.
        """
        lifetime = self._ttl if ttl is None else microseconds(ttl)
        text = metadata_text(metadata)
        if client_id is None or client_id == "":
            return None, None, text, lifetime
        return key_of("client_id", client_id), str(client_id), text, lifetime

    def _minted(
        self, rest: tuple[bytes | None, str | None, str, int | None]
    ) -> Verb[SessionRecord]:
        """
        Create a session with a fresh ID; one that is taken is drawn again.
        """
        made = ""
        for _ in range(_MINTS):
            made = self._mint()
            try:
                key = key_of("its ID", made)
            except (TypeError, ValueError) as error:
                raise PolicyError.about("mint", f"makes what is no ID: {error}") from None
            row: Row | None = yield "insert", (Draft(key, made, *rest),)
            if row is not None:
                return record_of(row)
        raise SessionExists(made)

    def _known(self, session_id: object, method: str, *more: object) -> Verb[Row]:
        """
        Ask about one session; an ID that could not be registered is not there either.
        """
        try:
            key = key_of("session_id", session_id)
        except ValueError:
            raise SessionNotFound(str(session_id)) from None
        row: Row | None = yield method, (key, *more)
        # Two IDs with one key are not to be expected, and not to be mixed up.
        if row is None or row.session_id != session_id:
            raise SessionNotFound(str(session_id))
        return row
