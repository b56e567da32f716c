"""
``Admission``: the rules by which a service takes only session IDs that are known.
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
    Take only sessions that are known, as ``Policy(admission=Admission(registry.exists))``.

    Each session ID that a request brings is looked up; one that is minted here
    is not. This is for services that hand out sessions from a
    registry. A session ID is a reference, and proves nothing about its sender.

    Args:
        known: a function of a session ID that returns ``True`` where it is
            known, else ``False``: the ``exists`` of an
            ``AsyncSessionRegistry`` under ASGI, of a ``SessionRegistry``
            under WSGI. Under ASGI a plain function runs in one of 16 worker
            threads of the middleware's own; under WSGI it must be one.
        unknown: how to answer a request whose session is not known:
            ``"mint"`` treats the ID as absent, ``"refuse"`` answers 404.
        unavailable: how to answer where *known* fails or takes too long:
            ``"refuse"`` answers 503, ``"mint"`` treats the ID as absent.
        timeout: the most seconds that an answer may take, under ASGI, the
            wait for a thread included; under WSGI, where nothing can be
            interrupted, it is the registry's own.

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
