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
from typing import Any

from idlanyard import _events
from idlanyard._peers import Everyone
from idlanyard.registry._async_registry import AsyncSessionRegistry
from idlanyard.registry._exceptions import RegistryUnavailable, SessionExists, SessionNotFound
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

__all__ = ["Authorize", "OnInput", "Question", "Reply", "SessionRequest", "SessionsHandler"]


class SessionsHandler:
    """
    The decisions behind every face.

    Args:
        registry: the sessions.
        on_input: ``on_input(record, body)`` returns the reply to an input;
            ``None`` offers no such route.
        authorize: says who may; ``EVERYONE`` asks nobody.
        max_body: the most bytes of a body.
        clock: returns the moment, in UTC, that errors are stamped with; left out, it is now.

    Attributes:
        takes_input: whether there is an ``on_input``.
        max_body: the most bytes of a body; the faces read no more.

    Raises:
        TypeError: ``authorize`` is missing, or one of them is something else.
        PolicyError: ``max_body`` is no number of bytes.
    """

    __slots__ = ("_authorize", "_clock", "_down", "_on_input", "_registry", "max_body")

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
        self._down = False
        self.max_body: int = max_body

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
        return (yield from self._read_or_end(action, session_id, headers))

    def _create(self, headers: Mapping[str, str], body: bytes) -> Asking[Reply]:
        fields = _fields(headers, body, may_be_empty=True)
        session_id, client_id = _text(fields, "session_id"), _text(fields, "client_id")
        metadata = fields.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise Refused(422, "metadata must be an object or null.")
        yield from self._permit("create", session_id, None, fields, headers)
        create = partial(self._registry.create, client_id=client_id, metadata=metadata)
        try:
            record: SessionRecord = yield from self._asked(create, session_id)
        except SessionExists as error:
            if session_id is None:
                # The generator is at fault, and whose ID it met is nobody's business.
                raise
            raise Refused(409, str(error)) from None
        except (TypeError, ValueError) as error:
            raise Refused(422, str(error)) from None
        return reply(
            session_id=record.session_id,
            created_at=moment(record.created_at),
            status=record.status,
            message="Session created successfully.",
        )

    def _read_or_end(
        self, action: Action, session_id: str, headers: Mapping[str, str]
    ) -> Asking[Reply]:
        record = yield from self._authorized(action, session_id, {}, headers)
        if action == "end":
            # What was allowed is to end this session, and none that took its ID meanwhile.
            end = partial(self._registry.end, created_at=record.created_at if record else None)
            record = yield from self._known(end, session_id)
            message = "Session ended successfully."
            return reply(session_id=record.session_id, status=record.status, message=message)
        record = record or (yield from self._known(self._registry.get, session_id))
        return reply(
            session_id=record.session_id,
            created_at=moment(record.created_at),
            expires_at=None if record.expires_at is None else moment(record.expires_at),
            status=record.status,
        )

    def _input(self, session_id: str, headers: Mapping[str, str], body: bytes) -> Asking[Reply]:
        fields = _fields(headers, body, may_be_empty=False)
        if fields.get("session_id") not in (None, "", session_id):
            raise Refused(422, "session_id is another one than in the path: leave it out.")
        seen = yield from self._authorized("input", session_id, fields, headers)
        record = yield from self._known(self._registry.touch, session_id)
        if seen is not None and seen.created_at != record.created_at:
            # It ended meanwhile, and this is somebody's new one, whom nobody asked about.
            raise _not_found(session_id)
        return Reply.of(200, (yield Question(self._on_input, (record, fields), session_id)))

    def _authorized(
        self, action: Action, session_id: str, fields: dict[str, Any], headers: Mapping[str, str]
    ) -> Asking[SessionRecord | None]:
        """
        Return the session that ``authorize`` allowed; ``None`` where nobody is asked.
        """
        if isinstance(self._authorize, Everyone):
            return None
        try:
            record: SessionRecord | None = yield from self._asked(self._registry.get, session_id)
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
    ) -> Asking[None]:
        if isinstance(self._authorize, Everyone):
            return
        request = SessionRequest(
            action=action,
            session_id=session_id,
            record=record,
            body=MappingProxyType(fields),
            headers=MappingProxyType(dict(headers)),
        )
        answer: object = yield Question(self._authorize, (request,))
        if answer is not True:
            raise Refused(403, "This is not allowed.")

    def _known(self, verb: Callable[[str], Any], session_id: str) -> Asking[SessionRecord]:
        try:
            record: SessionRecord = yield from self._asked(verb, session_id)
        except SessionNotFound:
            raise _not_found(session_id) from None
        return record

    def _asked(self, verb: Callable[..., Any], session_id: str | None) -> Asking[Any]:
        """
        Ask the registry; an outage is answered every time, and logged once.
        """
        down = False
        try:
            return (yield Question(verb, (session_id,), is_verb=True))
        except RegistryUnavailable as error:
            down = True
            if not self._down:
                _events.LOGGER.error("idlanyard: %s, answering 503", error, exc_info=error)
            message = "The session registry is unavailable. Please try again."
            raise Refused(503, message) from None
        finally:
            self._down = down


def _not_found(session_id: str) -> Refused:
    return Refused(404, str(SessionNotFound(session_id)))


def _fields(headers: Mapping[str, str], body: bytes, *, may_be_empty: bool) -> dict[str, Any]:
    try:
        return fields_of(body, headers.get("content-type", ""), may_be_empty=may_be_empty)
    except ValueError as error:
        raise Refused(422, str(error)) from None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    """
    Return a field; null, "" and absent are the same (S-D1), and a number is none (S-D8).
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(422, f"{name} must be a string or null.")
    return value or None
