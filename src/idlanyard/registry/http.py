"""
The HTTP API of a registry as one pure handler: a request in, a reply out.

It decides, and never waits. What it has to ask (a verb of the registry,
``authorize``, ``on_input``) it yields as a ``Question``, and is sent the
answer, or has thrown in what was raised. The faces ask, each in its own way:
``idlanyard.registry.asgi``, ``.fastapi`` and ``.wsgi``.
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
from idlanyard.registry._exceptions import (
    IdempotencyMismatch,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
)
from idlanyard.registry._http._faults import Faults
from idlanyard.registry._http._fields import (
    CREATE,
    UPDATE,
    check_names,
    metadata_of,
    seconds_of,
    text_of,
)
from idlanyard.registry._http._grant import Grant
from idlanyard.registry._http._idempotency import idempotency_key
from idlanyard.registry._http._json_body import fields_of
from idlanyard.registry._http._replies import Refused, Reply, moment, reply
from idlanyard.registry._http._session_request import (
    Action,
    Asking,
    Authorize,
    OnInput,
    Question,
    SessionRequest,
    check_options,
)
from idlanyard.registry._record import SessionRecord
from idlanyard.registry._registry import SessionRegistry
from idlanyard.registry._rules import IdempotencyKey

__all__ = [
    "Action",
    "Authorize",
    "Grant",
    "OnInput",
    "Question",
    "Reply",
    "SessionRequest",
    "SessionsHandler",
]

T = TypeVar("T")

_GRANT_FOR_OTHERS: Final = (
    "idlanyard: authorize answered a request to %s a session with a Grant, which is for creates "
    "only, and was taken for a no: return True for callers who may"
)


class SessionsHandler:
    """
    The decisions behind every face.

    Args:
        registry: the sessions.
        on_input: ``on_input(record, body)`` returns the reply to an input;
            ``None`` offers no such route.
        authorize: decides about each request; ``EVERYONE`` asks nobody.
        max_body: the most bytes of a body.
        clock: returns the moment, in UTC, that errors are stamped with; left out, it is now.

    Attributes:
        takes_input: whether there is an ``on_input``.
        max_body: the most bytes of a body; the faces read no more.

    Raises:
        TypeError: ``authorize`` is missing, or one of them is something else.
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
        The sessions.
        """
        return self._registry

    @property
    def takes_input(self) -> bool:
        """
        Whether there is an ``on_input``, and so the route to it.
        """
        return self._on_input is not None

    def handle(
        self, action: Action, session_id: str | None, headers: Mapping[str, str], body: bytes | None
    ) -> Asking[Reply]:
        """
        Decide about one request.

        Args:
            action: which route it has.
            session_id: of which session; ``None`` for ``"create"``.
            headers: names in lower case.
            body: the bytes; ``None`` are more than ``max_body``.

        Returns:
            The reply, as what the generator returns.
        """
        try:
            return (yield from self._followed(action, session_id or "", headers, body))
        except Refused as refused:
            return refused.reply(self._clock())

    def _followed(
        self, action: Action, session_id: str, headers: Mapping[str, str], body: bytes | None
    ) -> Asking[Reply]:
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

    def _create(self, headers: Mapping[str, str], body: bytes) -> Asking[Reply]:
        fields = _fields(headers, body, may_be_empty=True)
        session_id, asked, key = _understood(_asked_for, fields, headers)
        grant = yield from self._permit("create", session_id, None, fields, headers)
        given = asked if grant is None else grant.over(asked)
        create = partial(self._registry.create, idempotency_key=key, **given)
        try:
            record: SessionRecord = yield from self._asked("create", create, session_id)
        except SessionExists as error:
            if session_id is None:
                # The generator is at fault, and whose ID it met is nobody's business.
                raise
            raise Refused(409, str(error)) from None
        except (IdempotencyMismatch, TypeError, ValueError) as error:
            raise Refused(422, str(error)) from None
        return reply(**_shown(record), message="Session created successfully.")

    def _read(self, session_id: str, headers: Mapping[str, str]) -> Asking[Reply]:
        record = yield from self._authorized("read", session_id, {}, headers)
        if record is None:
            record = yield from self._known("read", self._registry.get, session_id)
        return reply(**_shown(record))

    def _end(self, session_id: str, headers: Mapping[str, str]) -> Asking[Reply]:
        seen = yield from self._authorized("end", session_id, {}, headers)
        end = partial(self._registry.end, created_at=_created(seen))
        record = yield from self._known("end", end, session_id)
        message = "Session ended successfully."
        return reply(session_id=record.session_id, status=record.status, message=message)

    def _update(self, session_id: str, headers: Mapping[str, str], body: bytes) -> Asking[Reply]:
        fields = _fields(headers, body, may_be_empty=True)
        changes = _understood(_changed, fields)
        seen = yield from self._authorized("update", session_id, fields, headers)
        touch = partial(self._registry.touch, created_at=_created(seen), **changes)
        return reply(**_shown((yield from self._known("update", touch, session_id))))

    def _input(self, session_id: str, headers: Mapping[str, str], body: bytes) -> Asking[Reply]:
        fields = _fields(headers, body, may_be_empty=False)
        if fields.get("session_id") not in (None, "", session_id):
            raise Refused(422, "session_id is another one than in the path: leave it out.")
        seen = yield from self._authorized("input", session_id, fields, headers)
        touch = partial(self._registry.touch, created_at=_created(seen))
        record = yield from self._known("input", touch, session_id)
        # Where nobody is checked, the client's word is all there is for it.
        is_open = isinstance(self._authorize, Everyone)
        how = Provenance.CLIENT if is_open else Provenance.CODE
        question = Question(self._on_input, (record, fields), session_id, how)
        return Reply.of(200, (yield from self._put(question, "on_input")))

    def _authorized(
        self, action: Action, session_id: str, fields: dict[str, Any], headers: Mapping[str, str]
    ) -> Asking[SessionRecord | None]:
        """
        Return the session that ``authorize`` allowed; ``None`` where nobody is asked.
        """
        if isinstance(self._authorize, Everyone):
            return None
        try:
            record: SessionRecord | None = yield from self._asked(
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
    ) -> Asking[Grant | None]:
        """
        Ask ``authorize``, and return the grant where it answers with one.
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
        question = Question(self._authorize, (request,))
        answer: object = yield from self._put(question, f"authorize {action}")
        if answer is True:
            return None
        if not isinstance(answer, Grant):
            raise Refused(403, "This is not allowed.")
        if action != "create":
            _failures.warn_once(f"grant for {action}", _GRANT_FOR_OTHERS, action)
            raise Refused(403, "This is not allowed.")
        return answer

    def _known(
        self, action: Action, verb: Callable[[str], Any], session_id: str
    ) -> Asking[SessionRecord]:
        try:
            record: SessionRecord = yield from self._asked(action, verb, session_id)
        except SessionNotFound:
            raise _not_found(session_id) from None
        return record

    def _asked(
        self, action: Action, verb: Callable[..., Any], session_id: str | None
    ) -> Asking[Any]:
        """
        Ask the registry.
        """
        return (yield from self._put(Question(verb, (session_id,), is_verb=True), action))

    def _put(self, question: Question, name: str) -> Asking[Any]:
        """
        Put a question; an outage is a 503, and a registry that is set up wrongly a 500.

        The registry has logged the outage itself.
        """
        try:
            answer = yield question
        except RegistryUnavailable:
            message = "The session registry is unavailable. Please try again."
            raise Refused(503, message) from None
        except RegistryMisconfigured as error:
            self._faults.note(error, name)
            raise Refused(500, "The session registry cannot answer.") from None
        except (SessionExists, SessionNotFound, IdempotencyMismatch):
            # Answers as good as any.
            self._faults.forget(name)
            raise
        self._faults.forget(name)
        return answer


def _asked_for(
    fields: dict[str, Any], headers: Mapping[str, str]
) -> tuple[str | None, dict[str, Any], IdempotencyKey | None]:
    """
    Return the ID that a create asks for, the rest of its session, and its idempotency key.

    Raises:
        ValueError: one of them is refused.
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


def _changed(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return the changes that an update asks for.

    Raises:
        ValueError: one of them is refused.
    """
    check_names(fields, UPDATE)
    return {"ttl": seconds_of(fields), "metadata": metadata_of(fields)}


def _understood(read: Callable[..., T], *arguments: object) -> T:
    try:
        return read(*arguments)
    except ValueError as error:
        raise Refused(422, str(error)) from None


def _fields(headers: Mapping[str, str], body: bytes, *, may_be_empty: bool) -> dict[str, Any]:
    kind = headers.get("content-type", "")
    return _understood(partial(fields_of, may_be_empty=may_be_empty), body, kind)


def _created(seen: SessionRecord | None) -> datetime | None:
    """
    Return which session was allowed, so that none that has taken its ID meanwhile is meant.
    """
    return None if seen is None else seen.created_at


def _shown(record: SessionRecord) -> dict[str, Any]:
    """
    Return the fields of a living session that a reply has.
    """
    expires = record.expires_at
    return {
        "session_id": record.session_id,
        "created_at": moment(record.created_at),
        "expires_at": None if expires is None else moment(expires),
        "status": record.status,
    }


def _not_found(session_id: str) -> Refused:
    return Refused(404, str(SessionNotFound(session_id)))
