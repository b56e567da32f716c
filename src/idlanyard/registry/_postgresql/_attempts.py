"""
How one question is asked: by which connection, and whether by another one once more.

Decided here for threads and for event loops alike; each of them takes the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import text

from idlanyard.registry._exceptions import RegistryMisconfigured, RegistryUnavailable
from idlanyard.registry._postgresql._connections import SCHEME
from idlanyard.registry._postgresql._faults import fault_of, sqlstate_of
from idlanyard.registry._postgresql._links import Link
from idlanyard.registry._postgresql._places import Permit, Places, Waiter
from idlanyard.registry._postgresql._refusals import is_full, refusal_of, was_ended

PATIENCE: Final = 0.95
"""
The part of a question's time after which it waits for a connection no longer.
"""
ROOM: Final = text(
    """
    SELECT least(
        CAST(current_setting('max_connections') AS int)
        - CAST(current_setting('superuser_reserved_connections') AS int)
        - CAST(coalesce(current_setting('reserved_connections', true), '0') AS int)
        - count(*),
        (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user AND rolconnlimit >= 0)
        - count(*) FILTER (WHERE usename = session_user),
        (SELECT datconnlimit FROM pg_database
            WHERE datname = current_database() AND datconnlimit >= 0)
        - count(*) FILTER (WHERE datname = current_database())
    )
    FROM pg_stat_activity WHERE datid IS NOT NULL
    """
)
"""
How many more connections the server would give to this role.
"""

# The server refused the statement, so that nothing of it was done, and another
# connection may lead to one that does it.
_READ_ONLY: Final = "25006"


class Wait(NamedTuple):
    """
    Wait for an event, for some seconds at most.
    """

    event: Any
    seconds: float


class Open(NamedTuple):
    """
    Open a connection, and return its link.
    """

    generation: int


class Ask(NamedTuple):
    """
    Ask the question by a link, and return the answer.
    """

    link: Link


class Look(NamedTuple):
    """
    Ask ``ROOM`` by a link, and return the number.
    """

    link: Link


Step: TypeAlias = "Wait | Open | Ask | Look"
Steps: TypeAlias = Generator[Step, Any, Any]


class NoPlace(TimeoutError):
    """
    Every connection was in use for as long as the question could wait.

    Attributes:
        is_shared: whether there were connections to wait for.
    """

    def __init__(self, *, is_shared: bool) -> None:
        super().__init__(
            "every connection of the pool was in use"
            if is_shared
            else "the server had no connection left"
        )
        self.is_shared = is_shared


class Attempts:
    """
    One question, from when it waits for a connection until it is answered.

    Args:
        places: the pool.
        event: makes what a thread or a task waits for.
        until: when it has waited long enough for a connection.
        is_fresh: whether only a new connection will do.

    Attributes:
        link: the connection that was asked last.
    """

    def __init__(
        self, places: Places, event: Callable[[], Any], *, until: float, is_fresh: bool = False
    ) -> None:
        self._places = places
        self._event = event
        self._until = until
        self._is_fresh = is_fresh
        self._was_full = False
        self.link: Link | None = None

    def reason(self, error: Exception) -> Exception:
        """
        Return why there was no answer: a server that was full to the end is not a silent one.
        """
        is_late = isinstance(error, TimeoutError) or monotonic() >= self._until
        if self._was_full and self.link is None and is_late and not isinstance(error, NoPlace):
            return NoPlace(is_shared=self._places.open > 0)
        return error

    def steps(self) -> Steps:
        """
        Yield what is to be done next, and return the answer.

        Raises:
            NoPlace: there was no connection in time.
        """
        place = yield from self._wait()
        answer, link = yield from self._answer(place)
        link.has_answered = True
        if link.is_demoted():
            self._places.renew(link.generation)
        elif self._places.may_look(is_new=link.is_new):
            yield from self._share(link)
            return answer
        link.is_new = False
        self._places.give(link)
        return answer

    def _answer(self, place: Link | Permit) -> Generator[Step, Any, tuple[Any, Link]]:
        """
        Ask by the connection of a place and, where that was refused, by a new one.
        """
        link = yield from self._reach(place)
        try:
            return (yield Ask(link)), link
        except BaseException as error:
            if not self._is_told(link, error):
                raise
            first, self._is_fresh = link, True
        first.close()
        link = yield from self._reach(Permit.OPEN)
        try:
            answer = yield Ask(link)
        except BaseException as error:
            self._is_told(link, error, is_last=True)
            raise
        # The new one does what the old one refused: so would the others of its time.
        self._places.renew(first.generation)
        link.generation = self._places.generation
        return answer, link

    def _wait(self) -> Generator[Step, Any, Any]:
        """
        Wait for a place.
        """
        places, waiter = self._places, Waiter(self._event())
        place = places.take(waiter)
        try:
            while place is None and (rest := self._until - monotonic()) > 0:
                patience = places.patience()
                yield Wait(waiter.event, rest if patience is None else min(rest, patience))
                place = places.try_again(waiter)
        except BaseException:
            places.leave(waiter)
            raise
        if place is None:
            places.leave(waiter)
            raise NoPlace(is_shared=places.open > 0)
        return place

    def _reach(self, place: Link | Permit) -> Generator[Step, Any, Link]:
        """
        Return the connection of a place, a new one where that is none or is dead.
        """
        places = self._places
        while True:
            if isinstance(place, Link):
                if not self._is_fresh and place.is_alive():
                    if not place.is_demoted():
                        self.link = place
                        return place
                    places.renew(place.generation)
                place.close()
            try:
                self.link = None
                opened: Link = yield Open(places.generation)
            except BaseException as error:
                if not (isinstance(error, Exception) and is_full(error)):
                    places.forgo()
                    raise
                places.refuse()
                self._was_full = True
            else:
                self.link = opened
                return opened
            place = yield from self._wait()

    def _is_told(self, link: Link, error: BaseException, *, is_last: bool = False) -> bool:
        """
        Decide what becomes of a connection that did not answer, and whether to ask another one.

        Its place is given back, unless another one is to be asked.
        """
        places, state = self._places, sqlstate_of(error)
        was_pooled, link.is_new = not link.is_new, False
        if isinstance(error, Exception) and link.is_alive():
            link.has_answered = True
            if state == _READ_ONLY and was_pooled and not is_last:
                return True
            places.give(link)
            return False
        link.close()
        if isinstance(error, Exception):
            # One dead connection is told of all.
            places.renew(link.generation)
        if was_ended(error) and was_pooled and not is_last:
            return True
        places.forgo()
        return False

    def _share(self, link: Link) -> Steps:
        """
        Leave the server's last connections to those who have none.
        """
        link.is_new = False
        try:
            room = yield Look(link)
        except BaseException as error:
            self._is_told(link, error, is_last=True)
            if not isinstance(error, Exception):
                raise
            return
        if self._places.settle(room):
            self._places.give(link)
        else:
            link.close()


def failure_of(
    error: Exception, link: Link | None, table: str
) -> RegistryUnavailable | RegistryMisconfigured:
    """
    Return what the registry raises for a question that was not answered.

    Args:
        error: why not.
        link: the connection that was asked, if there was one.
        table: the name of the registry's table.
    """
    if isinstance(error, NoPlace):
        return RegistryUnavailable(SCHEME, stale=error.is_shared)
    fault = refusal_of(error) if link is None else fault_of(error, table)
    if fault is not None:
        return RegistryMisconfigured(SCHEME, fault)
    return RegistryUnavailable(SCHEME, stale=link is not None and link.has_answered)
