"""
What a registry raises: a duplicate, an unknown session, a store that does not answer.
"""

from __future__ import annotations

from idlanyard.exceptions import IDLanyardError


class SessionExists(IDLanyardError):
    """
    The session ID is taken: somebody created it before, and it has not ended or expired.

    Attributes:
        session_id: the ID that was asked for.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"Session ID '{session_id}' already exists. "
            "Please use a different ID or omit it for auto-generation."
        )
        self.session_id = session_id

    def __reduce__(self) -> tuple[type[SessionExists], tuple[str]]:
        return type(self), (self.session_id,)


class SessionNotFound(IDLanyardError):
    """
    No such session: it was never created, or has ended or expired.

    Attributes:
        session_id: the ID that was asked for.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session ID '{session_id}' not found.")
        self.session_id = session_id

    def __reduce__(self) -> tuple[type[SessionNotFound], tuple[str]]:
        return type(self), (self.session_id,)


class RegistryUnavailable(IDLanyardError):
    """
    The store did not answer in time, or not as a store does; nothing else stood in for it.

    What was asked of it may or may not have been done. The cause
    (``__cause__``) is the library's own error; the message has no part of it,
    since that may name hosts and users.

    Attributes:
        scheme: the kind of store, as in ``"redis"``.
        stale: whether the connection that failed had answered before, so that
            asking again, by a new one, may work at once.
    """

    def __init__(self, scheme: str, *, stale: bool = False) -> None:
        super().__init__(f"the session registry's {scheme} store is unavailable")
        self.scheme = scheme
        self.stale = stale

    def __reduce__(self) -> tuple[type[RegistryUnavailable], tuple[str], dict[str, bool]]:
        return type(self), (self.scheme,), {"stale": self.stale}


class RegistryMisconfigured(IDLanyardError):
    """
    The registry cannot work as it is set up, and waiting will not mend that.

    A wrong password, missing rights, a layout of another version. The cause
    (``__cause__``) is the library's own error; the message has no part of it.

    Attributes:
        scheme: the kind of store, as in ``"redis"``.
        fault: the sentence that says what is wrong and what to do.
    """

    def __init__(self, scheme: str, fault: str) -> None:
        super().__init__(f"the session registry's {scheme} store is misconfigured: {fault}")
        self.scheme = scheme
        self.fault = fault

    def __reduce__(self) -> tuple[type[RegistryMisconfigured], tuple[str, str]]:
        return type(self), (self.scheme, self.fault)


class IdempotencyMismatch(IDLanyardError):
    """
    The idempotency key belongs to a living session that another request has created.

    Attributes:
        idempotency_key: the key.
    """

    def __init__(self, idempotency_key: str) -> None:
        super().__init__(
            "This idempotency key has been used for another request: "
            "send the same request again, or another key."
        )
        self.idempotency_key = idempotency_key

    def __reduce__(self) -> tuple[type[IdempotencyMismatch], tuple[str]]:
        return type(self), (self.idempotency_key,)


class MissingExtra(IDLanyardError, ImportError):
    """
    The store of a URL needs a library that is not installed.

    Attributes:
        extra: the extra that brings it, as in ``"redis"``.
    """

    def __init__(self, scheme: str, extra: str) -> None:
        super().__init__(f"{scheme}:// needs more: run pip install 'idlanyard[{extra}]'")
        self.scheme = scheme
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.scheme, self.extra)
