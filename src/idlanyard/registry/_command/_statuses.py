"""
Exit statuses of a command, and the errors that lead to them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable

FINE: Final = 0
FAULTS: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
MISCONFIGURED: Final = 4
SIGNALLED: Final = 128
BROKEN_PIPE: Final = 141

StoreError: TypeAlias = RegistryUnavailable | RegistryMisconfigured


class UsageError(Exception):
    """
    The command line is wrong; the message says what to write.
    """


class Undone(Exception):
    """
    The command could not do its work; the message says why.
    """


class Failed(Exception):
    """
    A store did not answer a question.

    Attributes:
        place: the store's URL, without secrets.
        error: the store's error.
    """

    def __init__(self, place: str, error: StoreError) -> None:
        super().__init__(place)
        self.place = place
        self.error = error

    @property
    def status(self) -> int:
        """
        The exit status for this error.
        """
        return MISCONFIGURED if isinstance(self.error, RegistryMisconfigured) else UNAVAILABLE

    def sentence(self) -> str:
        """
        Return the cause, and whether waiting may help.
        """
        if isinstance(self.error, RegistryMisconfigured):
            return f"{self.place} is misconfigured, and waiting will not mend this: " + (
                self.error.fault
            )
        cause = self.error.__cause__
        # SQLAlchemy wraps the driver's error, whose message is shorter.
        cause = getattr(cause, "orig", None) or cause
        lines = str(cause or "").strip().splitlines()
        because = f" ({type(cause).__name__}: {lines[0]})" if lines else ""
        return f"{self.place} does not answer{because}; waiting may mend this"


class Interrupted(BaseException):
    """
    The process received a signal to end.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
