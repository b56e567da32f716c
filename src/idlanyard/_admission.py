"""
``Admission``: the rules by which a service takes only session IDs that are known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from idlanyard._options import Options
from idlanyard.exceptions import PolicyError


@dataclass(frozen=True)
class Admission(Options):
    """
    Take only sessions that are known, as ``Policy(admission=Admission(registry.exists))``.

    Asked is about each session ID that a request brings; one that is minted
    here needs no leave. It is for services that hand out sessions by a
    registry; a session ID is a reference, and not what proves who sends it.

    Args:
        known: takes a session ID and says whether it is known, ``True`` or
            ``False``: the ``exists`` of an ``AsyncSessionRegistry`` under
            ASGI, of a ``SessionRegistry`` under WSGI. Under ASGI a plain
            function runs in a worker thread; under WSGI it must be one.
        unknown: what becomes of a request whose session is not known:
            ``"mint"`` treats it as absent, ``"refuse"`` answers 404.
        unavailable: what becomes of it where there is no answer, in time or
            at all: ``"refuse"`` answers 503, ``"mint"`` treats it as absent.
        timeout: the most seconds that an answer may take, under ASGI; under
            WSGI, where nothing can be interrupted, it is the registry's own.

    Raises:
        PolicyError: an option cannot be followed.
    """

    known: Callable[[str], bool | Awaitable[bool]]
    _: KW_ONLY
    unknown: Literal["mint", "refuse"] = "mint"
    unavailable: Literal["mint", "refuse"] = "refuse"
    timeout: float = 2.0

    def __post_init__(self) -> None:
        if not callable(self.known):
            raise PolicyError.about(
                "known", "takes a function, as in Admission(registry.exists)", self.known
            )
        for option in ("unknown", "unavailable"):
            value = getattr(self, option)
            if value not in ("mint", "refuse"):
                raise PolicyError.about(option, f"is {value!r}: write 'mint' or 'refuse'", value)
        timeout: object = self.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise PolicyError.about("timeout", "is a number of seconds: write 2.0", timeout)
