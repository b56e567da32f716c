"""
The HTTP API of a registry as one pure handler: a request in, a reply out.

The handler decides and never waits. It yields a ``Call`` for each verb of the
registry, ``authorize`` and ``on_input``, and is sent the result, or has the
error thrown in. The faces make the calls, each in its own way:
``idlanyard.registry.asgi``, ``.wsgi``, ``.fastapi``, ``.flask`` and ``.django``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

from idlanyard import _failures
from idlanyard._policy.peers import Everyone
from idlanyard.ids import Provenance
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._checks import IdempotencyKey
from idlanyard.registry._exceptions import (
    IdempotencyMismatch,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
)
from idlanyard.registry._http._body import (
    CREATE,
    UPDATE,
    check_names,
    idempotency_key,
    metadata_of,
    parse_body,
    seconds_of,
    text_of,
)
from idlanyard.registry._http._replies import Faults, Refused, Reply, format_moment
from idlanyard.registry._http._request import (
    Authorize,
    Call,
    Grant,
    Handling,
    OnInput,
    SessionRequest,
    check_options,
)
from idlanyard.registry._http._routes import Action
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._registry import SessionRegistry

T = TypeVar("T")

_GRANT_FOR_OTHERS: Final = (
    "idlanyard: authorize answered a request to %s a session with a Grant, which is for creates "
    "only, and was taken for a no: return True for callers who may"
)


class SessionsHandler:
    """
    The decisions behind every face.

    The routes are ``POST /session/create``, ``GET``, ``PATCH`` and ``DELETE
    /session/{id}``, and ``POST /session/{id}/input`` if there is an
    ``on_input``.

    Args:
        registry: the registry. The timeout of a ``SessionRegistry`` includes
            the wait for a worker thread, where a face uses threads.
        on_input: ``on_input(record, body)`` returns the reply to an input, as
            a value for JSON. The session is bound during the call.
        authorize: gets a ``SessionRequest`` and returns ``True`` for callers
            who may, or for a create a ``Grant``. ``EVERYONE`` spells out that
            nobody is checked.
        max_body: the most bytes of a body; a longer one is answered 413.
        clock: returns the moment, in UTC, that errors are stamped with; left
            out, it is now.

    Attributes:
        max_body: the most bytes of a body; the faces read no more.

    Raises:
        TypeError: ``authorize`` is missing, or an option has a wrong type.
        PolicyError: ``max_body`` is no number of bytes.
    """

    __slots__ = ("_authorize", "_clock", "_faults", "_on_input", "_registry", "max_body")

    def __init__(
        self,
        registry: SessionRegistry | AsyncSessionRegistry,
        *,
        on_input: OnInput | None = None,
        authorize: Authorize | Everyone | None = None,
        max_body: int = 65_536,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        check_options(registry, on_input, authorize, max_body)
        self._registry = registry
        self._on_input: Any = on_input
        self._authorize: Any = authorize
        self._clock = clock or partial(datetime.now, UTC)
        self._faults = Faults()
        self.max_body: int = max_body

    @property
    def registry(self) -> SessionRegistry | AsyncSessionRegistry:
        """
        The registry.
        """
        return self._registry

    @property
    def takes_input(self) -> bool:
        """
        Whether there is an ``on_input``, and so a route for input.
        """
        return self._on_input is not None

    def handle(
        self, action: Action, session_id: str | None, headers: Mapping[str, str], body: bytes | None
    ) -> Handling[Reply]:
        """
        Handle one request.

        Args:
            action: the action of the request's route.
            session_id: the session ID in the path; ``None`` for ``"create"``.
            headers: the request's headers, names in lower case.
            body: the bytes; ``None`` if they are more than ``max_body``.

        Returns:
            A generator that yields calls, is sent their results, and returns
            the reply.
        """
        try:
            return (yield from self._act(action, session_id or "", headers, body))
        except Refused as refused:
            return refused.reply(self._clock())

    def _act(
        self, action: Action, session_id: str, headers: Mapping[str, str], body: bytes | None
    ) -> Handling[Reply]:
        if body is None:
            raise Refused(413, f"The body has more than {self.max_body} bytes.")
        if action == "create":
            return (yield from self._create(headers, body))
        if action == "input":
            return (yield from self._input(session_id, headers, body))
        if action == "update":
            return (yield from self._update(session_id, headers, body))
        if action == "end":
            return (yield from self._end(session_id, headers))
        return (yield from self._read(session_id, headers))

    def _create(self, headers: Mapping[str, str], body: bytes) -> Handling[Reply]:
        fields = _parse_fields(headers, body, may_be_empty=True)
        session_id, asked, key = _or_refuse(_parse_create, fields, headers)
        grant = yield from self._permit("create", session_id, None, fields, headers)
        given = asked if grant is None else grant.over(asked)
        create = partial(self._registry.create, idempotency_key=key, **given)
        try:
            record: SessionRecord = yield from self._call_verb("create", create, session_id)
        except SessionExists as error:
            if session_id is None:
                # The ID was minted: a 409 would tell the caller of another's session.
                raise
            raise Refused(409, str(error)) from None
        except (IdempotencyMismatch, TypeError, ValueError) as error:
            raise Refused(422, str(error)) from None
        message = "Session created successfully."
        return Reply.of(200, {**_fields_of(record), "message": message})

    def _read(self, session_id: str, headers: Mapping[str, str]) -> Handling[Reply]:
        record = yield from self._authorized("read", session_id, {}, headers)
        if record is None:
            record = yield from self._call_known("read", self._registry.get, session_id)
        return Reply.of(200, _fields_of(record))

    def _end(self, session_id: str, headers: Mapping[str, str]) -> Handling[Reply]:
        seen = yield from self._authorized("end", session_id, {}, headers)
        end = partial(self._registry.end, created_at=_created_at(seen))
        record = yield from self._call_known("end", end, session_id)
        fields = {"session_id": record.session_id, "status": record.status}
        return Reply.of(200, {**fields, "message": "Session ended successfully."})

    def _update(self, session_id: str, headers: Mapping[str, str], body: bytes) -> Handling[Reply]:
        fields = _parse_fields(headers, body, may_be_empty=True)
        changes = _or_refuse(_parse_update, fields)
        seen = yield from self._authorized("update", session_id, fields, headers)
        touch = partial(self._registry.touch, created_at=_created_at(seen), **changes)
        record = yield from self._call_known("update", touch, session_id)
        return Reply.of(200, _fields_of(record))

    def _input(self, session_id: str, headers: Mapping[str, str], body: bytes) -> Handling[Reply]:
        fields = _parse_fields(headers, body, may_be_empty=False)
        if fields.get("session_id") not in (None, "", session_id):
            raise Refused(422, "session_id is another one than in the path: leave it out.")
        seen = yield from self._authorized("input", session_id, fields, headers)
        touch = partial(self._registry.touch, created_at=_created_at(seen))
        record = yield from self._call_known("input", touch, session_id)
        # If nobody is checked, the ID is only the client's word.
        is_open = isinstance(self._authorize, Everyone)
        provenance = Provenance.CLIENT if is_open else Provenance.CODE
        call = Call(self._on_input, (record, fields), session_id, provenance)
        return Reply.of(200, (yield from self._make(call, "on_input")))

    def _authorized(
        self, action: Action, session_id: str, fields: dict[str, Any], headers: Mapping[str, str]
    ) -> Handling[SessionRecord | None]:
        """
        Return the session that ``authorize`` allowed; ``None`` if nobody is checked.
        """
        if isinstance(self._authorize, Everyone):
            return None
        try:
            record: SessionRecord | None = yield from self._call_verb(
                "read", self._registry.get, session_id
            )
        except SessionNotFound:
            record = None
        yield from self._permit(action, session_id, record, fields, headers)
        if record is None:
            raise _not_found(session_id)
        return record

    def _permit(
        self,
        action: Action,
        session_id: str | None,
        record: SessionRecord | None,
        fields: dict[str, Any],
        headers: Mapping[str, str],
    ) -> Handling[Grant | None]:
        """
        Call ``authorize``, and return its grant, if it returned one.
        """
        if isinstance(self._authorize, Everyone):
            return None
        request = SessionRequest(
            action=action,
            session_id=session_id,
            record=record,
            body=MappingProxyType(fields),
            headers=MappingProxyType(dict(headers)),
        )
        call = Call(self._authorize, (request,))
        answer: object = yield from self._make(call, f"authorize {action}")
        if answer is True:
            return None
        if not isinstance(answer, Grant):
            raise Refused(403, "This is not allowed.")
        if action != "create":
            _failures.warn_once(f"grant for {action}", _GRANT_FOR_OTHERS, action)
            raise Refused(403, "This is not allowed.")
        return answer

    def _call_known(
        self, action: Action, verb: Callable[[str], Any], session_id: str
    ) -> Handling[SessionRecord]:
        """
        Call a verb of the registry; an unknown session is a 404.
        """
        try:
            record: SessionRecord = yield from self._call_verb(action, verb, session_id)
        except SessionNotFound:
            raise _not_found(session_id) from None
        return record

    def _call_verb(
        self, action: Action, verb: Callable[..., Any], session_id: str | None
    ) -> Handling[Any]:
        return (yield from self._make(Call(verb, (session_id,), is_verb=True), action))

    def _make(self, call: Call, name: str) -> Handling[Any]:
        """
        Make a call; an outage is a 503, and a misconfigured registry a 500.

        The registry has logged an outage itself.
        """
        try:
            result = yield call
        except RegistryUnavailable:
            message = "The session registry is unavailable. Please try again."
            raise Refused(503, message) from None
        except RegistryMisconfigured as error:
            self._faults.note(error, name)
            raise Refused(500, "The session registry cannot answer.") from None
        except (SessionExists, SessionNotFound, IdempotencyMismatch):
            # The store has answered, so it works.
            self._faults.forget(name)
            raise
        self._faults.forget(name)
        return result


def _parse_create(
    fields: dict[str, Any], headers: Mapping[str, str]
) -> tuple[str | None, dict[str, Any], IdempotencyKey | None]:
    """
    Return the session ID of a create, its other fields, and its idempotency key.

    Raises:
        ValueError: a field or the key is refused.
    """
    check_names(fields, CREATE)
    session_id = text_of(fields, "session_id")
    rest = {
        "client_id": text_of(fields, "client_id"),
        "metadata": metadata_of(fields),
        "ttl": seconds_of(fields),
    }
    whole = {"session_id": session_id, **rest, "metadata": rest["metadata"] or {}}
    return session_id, rest, idempotency_key(headers, whole)


def _parse_update(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return the changes of an update.

    Raises:
        ValueError: a field is refused.
    """
    check_names(fields, UPDATE)
    return {"ttl": seconds_of(fields), "metadata": metadata_of(fields)}


def _or_refuse(parse: Callable[..., T], *arguments: object) -> T:
    try:
        return parse(*arguments)
    except ValueError as error:
        raise Refused(422, str(error)) from None


def _parse_fields(headers: Mapping[str, str], body: bytes, *, may_be_empty: bool) -> dict[str, Any]:
    kind = headers.get("content-type", "")
    return _or_refuse(partial(parse_body, may_be_empty=may_be_empty), body, kind)


def _created_at(seen: SessionRecord | None) -> datetime | None:
    """
    Return the creation of the session that was allowed, to exclude a later one with the same ID.
    """
    return None if seen is None else seen.created_at


def _fields_of(record: SessionRecord) -> dict[str, Any]:
    """
    Return the fields that a reply has of a living session.
    """
    expires = record.expires_at
    return {
        "session_id": record.session_id,
        "created_at": format_moment(record.created_at),
        "expires_at": None if expires is None else format_moment(expires),
        "status": record.status,
    }


def _not_found(session_id: str) -> Refused:
    return Refused(404, str(SessionNotFound(session_id)))
