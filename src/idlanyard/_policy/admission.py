"""
``Admission``: the rules of a service that accepts only known session IDs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from idlanyard._policy.options import Options
from idlanyard.exceptions import PolicyError


@dataclass(frozen=True)
class Admission(Options):
    """
    Accept only known session IDs, as in ``Policy(admission=Admission(registry.exists))``.

    Every session ID that a request brings is looked up; one that is minted
    here is not. This is for services that hand out sessions from a registry.
    A known session ID proves nothing about its sender.

    Args:
        known: a function that returns whether a session ID is known: the
            ``exists`` of an ``AsyncSessionRegistry`` under ASGI, of a
            ``SessionRegistry`` under WSGI. A plain function runs under ASGI in
            one of 16 worker threads of the middleware; WSGI takes no other.
        unknown: the answer to a request with an unknown session:
            ``"mint"`` treats the ID as absent, ``"refuse"`` answers 404.
        unavailable: the answer if *known* fails or takes too long:
            ``"refuse"`` answers 503, ``"mint"`` treats the ID as absent.
        timeout: under ASGI, the most seconds that a lookup may take,
            including the wait for a thread. Under WSGI no call can be
            interrupted: there the registry's own timeout counts.

    Raises:
        PolicyError: an option is wrong; the message says what to write.
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
