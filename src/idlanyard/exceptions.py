"""
What can go wrong by the hand of a programmer: one root, few leaves.

Hostile input is data and never raises; these are for wrong configuration and
for code that asks for an ID which is not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idlanyard.ids import Provenance

__all__ = ["IDLanyardError", "MissingID", "PolicyError", "UntrustedID"]


class IDLanyardError(Exception):
    """
    The root of every error that idlanyard raises by itself.
    """


class PolicyError(IDLanyardError):
    """
    A rule that cannot be followed, found when the rule is built.

    The message says what to write instead.

    Attributes:
        option: the option that is wrong (``"trusted_peers"``), where there
            is one.
        value: what was given for it; never a secret and never a request's
            data.
    """

    def __init__(self, message: str, *, option: str | None = None, value: object = None) -> None:
        super().__init__(message)
        self.option = option
        self.value = value

    @classmethod
    def about(cls, option: str, sentence: str, value: object = None) -> PolicyError:
        """
        Return the error whose message is the option and what to write for it.
        """
        return cls(f"{option} {sentence}", option=option, value=value)


class MissingID(IDLanyardError):
    """
    ``require`` found no value for an ID.

    Attributes:
        name: the ID, as in ``"user_id"``.
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
    ``require`` found a value that nobody vouches for.

    Attributes:
        name: the ID, as in ``"user_id"``.
        provenance: the rule that let the value in.
    """

    def __init__(self, name: str, provenance: Provenance) -> None:
        super().__init__(
            f"{name} came in as {provenance.name}, which proves nothing: accept it from "
            f"trusted_peers or a shared_secret, set it with identify(), "
            f"or ask for it with proven=False"
        )
        self.name = name
        self.provenance = provenance

    def __reduce__(self) -> tuple[type[UntrustedID], tuple[str, Provenance]]:
        return type(self), (self.name, self.provenance)
