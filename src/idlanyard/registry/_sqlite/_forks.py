"""
No connection is carried over a fork.

SQLite remembers in the process's own memory which locks the process has on a
file. A child inherits that memory and not the locks: it would believe itself
protected, in connections of its own as well, while others delete the log that
it writes to; what it acknowledged would be lost. So all connections end
before a fork, and begin anew behind it in both processes.
"""

from __future__ import annotations

import os
from threading import Lock, RLock
from typing import Protocol
from weakref import WeakSet


class Connected(Protocol):
    """
    What may have a connection, which its lock guards.
    """

    lock: RLock

    @property
    def is_connected(self) -> bool:
        """
        Whether it has one.
        """
        ...

    def let_go(self) -> None:
        """
        End it, if there is one.
        """
        ...


class Forks:
    """
    What this process's connections and forks have to know of each other.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._all: WeakSet[Connected] = WeakSet()
        self._held: list[Connected] = []
        self._turn = Lock()
        # Who begins a connection holds it meanwhile.
        self.gate = Lock()

    def watch(self, one: Connected) -> None:
        """
        End the connections of *one* before a fork.
        """
        with self.gate:
            self._all.add(one)

    def begin(self) -> None:
        """
        End all connections, and let nobody begin one.
        """
        self._turn.acquire()
        self.gate.acquire()
        while connected := [one for one in self._all if one.is_connected]:
            # Who is in the middle of a statement may have to connect anew to get out of it.
            self.gate.release()
            for one in connected:
                one.lock.acquire()
                self._held.append(one)
                one.let_go()
            self.gate.acquire()

    def end(self) -> None:
        """
        Let everybody go on.
        """
        while self._held:
            self._held.pop().lock.release()
        self.gate.release()
        self._turn.release()

    def renew(self) -> None:
        """
        Let the child begin with nothing: other threads' locks would never be released.
        """
        self._held.clear()
        self._turn, self.gate = Lock(), Lock()
        for one in self._all:
            one.lock = RLock()
        self.pid = os.getpid()

    def notice(self) -> None:
        """
        Find out about a fork that was not announced, as in servers written in C.

        Nobody was in the middle of a statement then, or that server would not
        do without announcing; and the child's closing a connection makes
        SQLite forget the locks that only the parent has.
        """
        with self._turn:
            if self.pid != os.getpid():
                for one in self._all:
                    one.let_go()
                self.renew()


forks = Forks()
# There are none on Windows.
getattr(os, "register_at_fork", dict)(
    before=forks.begin, after_in_parent=forks.end, after_in_child=forks.renew
)
