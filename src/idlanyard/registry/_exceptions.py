"""
Exceptions of the registry: a duplicate, an unknown session, a store that does not answer.
"""

from __future__ import annotations

from idlanyard.exceptions import IDLanyardError

__all__ = [
    "IdempotencyMismatch",
    "MissingExtra",
    "RegistryMisconfigured",
    "RegistryUnavailable",
    "SessionExists",
    "SessionNotFound",
]


class SessionExists(IDLanyardError):
    """
    The session ID is taken by a session that has not ended or expired.

    Attributes:
        session_id: the ID.
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
    There is no such session: it was never created, or has ended or expired.

    Attributes:
        session_id: the ID.
    """

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session ID '{session_id}' not found.")
        self.session_id = session_id

    def __reduce__(self) -> tuple[type[SessionNotFound], tuple[str]]:
        return type(self), (self.session_id,)


class RegistryUnavailable(IDLanyardError):
    """
    The store failed or did not answer in time. There is no fallback.

    A create, touch or end may or may not have been done. The cause
    (``__cause__``) is the error of the underlying library; the message does
    not quote it, since it may name hosts and users.

    Attributes:
        scheme: the kind of store, as in ``"redis"``.
        stale: whether a connection failed that had worked before, so that a
            retry on a new connection may succeed at once.
    """

    def __init__(self, scheme: str, *, stale: bool = False) -> None:
        super().__init__(f"the session registry's {scheme} store is unavailable")
        self.scheme = scheme
        self.stale = stale

    def __reduce__(self) -> tuple[type[RegistryUnavailable], tuple[str], dict[str, bool]]:
        return type(self), (self.scheme,), {"stale": self.stale}


class RegistryMisconfigured(IDLanyardError):
    """
    The registry cannot work as configured, and waiting will not help.

    Examples are a wrong password, missing rights and tables of another
    version. The cause (``__cause__``) is the error of the underlying library;
    the message does not quote it.

    Attributes:
        scheme: the kind of store, as in ``"redis"``.
        fault: a sentence about the fault and its remedy.
    """

    def __init__(self, scheme: str, fault: str) -> None:
        super().__init__(f"the session registry's {scheme} store is misconfigured: {fault}")
        self.scheme = scheme
        self.fault = fault

    def __reduce__(self) -> tuple[type[RegistryMisconfigured], tuple[str, str]]:
        return type(self), (self.scheme, self.fault)


class IdempotencyMismatch(IDLanyardError):
    """
    The idempotency key belongs to a living session from a different request.

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
    The store needs a library that is not installed.

    Attributes:
        scheme: the scheme of the store's URL.
        extra: the extra that installs the library, as in ``"redis"``.
    """

    def __init__(self, scheme: str, extra: str) -> None:
        super().__init__(f"{scheme}:// needs more: run pip install 'idlanyard[{extra}]'")
        self.scheme = scheme
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.scheme, self.extra)
