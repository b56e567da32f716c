"""
Exceptions for wrong configuration and missing IDs; all derive from ``IDLanyardError``.

A request never raises one, whatever it brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idlanyard.ids import Provenance

__all__ = ["IDLanyardError", "MissingID", "PolicyError", "UntrustedID"]


class IDLanyardError(Exception):
    """
    The base of the exceptions of idlanyard.
    """


class PolicyError(IDLanyardError):
    """
    An option of a policy is wrong; raised when the policy is built.

    The message says what to write instead.

    Attributes:
        option: the name of the wrong option, such as ``"trusted_peers"``, or
            ``None``.
        value: the value that was given for it, but never a secret and never
            data of a request.
    """

    def __init__(self, message: str, *, option: str | None = None, value: object = None) -> None:
        super().__init__(message)
        self.option = option
        self.value = value

    @classmethod
    def about(cls, option: str, sentence: str, value: object = None) -> PolicyError:
        """
        Return the error for an option; its message is the option's name and *sentence*.
        """
        return cls(f"{option} {sentence}", option=option, value=value)


class MissingID(IDLanyardError):
    """
    ``require`` found no value for an ID.

    Attributes:
        name: the name of the ID, such as ``"user_id"``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not bound here: call this inside a request or a session_context block "
            f"that has one, or read it with get_id({name!r}) where it may be absent"
        )
        self.name = name

    def __reduce__(self) -> tuple[type[MissingID], tuple[str]]:
        return type(self), (self.name,)


class UntrustedID(IDLanyardError):
    """
    ``require`` found a value that is not proven.

    Attributes:
        name: the name of the ID, such as ``"user_id"``.
        provenance: the way by which the value came in.
    """

    def __init__(self, name: str, provenance: Provenance) -> None:
        super().__init__(
            f"{name} came in as {provenance.name}, which proves nothing: accept it from "
            f"trusted_peers or a shared_secret, set it with identify(), sign jobs with "
            f"Policy(queue_keys=[...]), or ask for it with proven=False"
        )
        self.name = name
        self.provenance = provenance

    def __reduce__(self) -> tuple[type[UntrustedID], tuple[str, Provenance]]:
        return type(self), (self.name, self.provenance)
