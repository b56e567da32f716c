"""
The keys of an assertion: pinned, or fetched by a thread of their own and never by a request.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Final, TypeAlias
from weakref import ref

from idlanyard import _failures
from idlanyard.signing._assertions.fetching import KeyNotFound, KeyURL, fetch_answer
from idlanyard.signing._assertions.keys import (
    Keys,
    KeysUnusable,
    NoKeyFits,
    read_answer,
    read_pem,
)

Load: TypeAlias = Callable[[Keys, str], Keys]
"""
Fetches keys, given those that are there and the ID of the one that is wanted.
"""

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
_MINUTE: Final = 60.0
# A key set is fetched as a whole: there is one moment at which that went well.
_ALL: Final = ""
_MOST_ASKED: Final = 8
_SHORT_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class KeySource:
    """
    Keys that are written in the code or read by it, and never change.

    Args:
        keys: the keys.
    """

    def __init__(self, keys: Keys | None) -> None:
        self._keys: Keys | None = keys

    def get_keys(self) -> Keys | None:
        """
        Return the keys, or ``None`` if there are none yet.
        """
        return self._keys

    def ask_for(self, kid: str | None) -> None:
        """
        Ask for a refresh, since none of the keys has signed a token.
        """

    def wait_for_refresh(self, seconds: float) -> None:
        """
        Wait until a refresh that was asked for is over, well or not.
        """

    def wait_for_keys(self, seconds: float) -> bool:
        """
        Wait until there are keys, and return whether there are.
        """
        del seconds
        return True

    def open(self) -> None:
        """
        Begin the refreshing again, if it was ended.
        """

    def close(self) -> None:
        """
        End the refreshing.
        """


def load_key_set(url: KeyURL, algorithm: str) -> Load:
    """
    Return the function that fetches a whole key set.
    """
    return lambda _keys, _kid: read_answer(fetch_answer(url), algorithm)


def load_by_id(url: KeyURL, algorithm: str) -> Load:
    """
    Return the function that fetches one key, in PEM, at *url* with its ID for ``{kid}``.
    """

    def load(keys: Keys, kid: str) -> Keys:
        named = url._replace(target=url.target.replace("{kid}", kid))
        return keys.add(kid, read_pem(fetch_answer(named), algorithm))

    return load


class FetchedKeys(KeySource):
    """
    Keys that one daemon thread fetches, keeps fresh, and asks for again if one is missing.

    Every hour, and at most once a minute for an unknown key ID, they are
    fetched again. A failure leaves the last good keys as they are, for a day;
    the answer that there is no such key takes it away. A process that is
    forked has a thread of its own from its first token on.

    Args:
        load: fetches the keys.
        host: the key server, for the log.
        by_id: whether each key is fetched by itself, when a token names it:
            eight new ones a minute at most.
        clock: returns the seconds since any moment.
        look: the most seconds between two looks at the clock.
    """

    def __init__(
        self,
        load: Load,
        host: str,
        *,
        by_id: bool = False,
        clock: Callable[[], float] = time.monotonic,
        look: float = _MINUTE,
    ) -> None:
        super().__init__(Keys() if by_id else None)
        self._load = load
        self._host = host
        self._by_id = by_id
        self._clock = clock
        self._look = look
        # The last moment at which the server answered, by key ID.
        self._answered: dict[str, float] = {} if by_id else {_ALL: float("-inf")}
        self._failed = 0
        self._next_try = float("-inf")
        self._closed = False
        self._begin_anew()
        if not by_id:
            self._start()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._signal = threading.Event()
        self._settled = threading.Event()
        self._arrived = threading.Event()
        self._wanted: set[str] = set()
        self._asked: dict[str, float] = {}

    def _begin_anew_after_fork(self) -> None:
        # Not by register_at_fork: uWSGI calls those functions only if it is told to.
        if self._pid != os.getpid():
            self._begin_anew()

    def get_keys(self) -> Keys | None:
        """
        Return the keys, or ``None`` if there are none yet.
        """
        self._begin_anew_after_fork()
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._start()
        return self._keys

    def ask_for(self, kid: str | None) -> None:
        """
        Ask for a refresh, unless that was done within the last minute.
        """
        if self._closed or self._keys is None:
            return
        if self._by_id and not _SHORT_ID.fullmatch(kid or ""):
            return
        now = self._clock()
        wanted, most = (kid or "", _MOST_ASKED) if self._by_id else (_ALL, 1)
        with self._lock:
            self._asked = {at: when for at, when in self._asked.items() if now - when < _MINUTE}
            if wanted in self._asked or len(self._asked) >= most:
                return
            self._asked[wanted] = now
            self._wanted.add(wanted)
            self._settled.clear()
        self._signal.set()

    def wait_for_refresh(self, seconds: float) -> None:
        """
        Wait until a refresh that was asked for is over, well or not.
        """
        if not self._closed:
            self._settled.wait(seconds)

    def wait_for_keys(self, seconds: float) -> bool:
        """
        Wait until there are keys, and return whether there are.

        Keys that were closed are opened again. Those that are fetched one by
        one are not waited for, since no token has named one yet.
        """
        self.open()
        if self._by_id or self.get_keys():
            return True
        self._arrived.wait(seconds)
        return bool(self._keys)

    def open(self) -> None:
        """
        Begin the refreshing again, if it was ended.
        """
        self._begin_anew_after_fork()
        with self._lock:
            if not self._closed:
                return
            self._closed = False
            self._arrived.clear()
        self.get_keys()

    def close(self) -> None:
        """
        End the thread, at once or when its request is over; the keys go on being used.
        """
        self._closed = True
        self._signal.set()
        # Nobody is left to end the waiting of others.
        self._settled.set()
        self._arrived.set()

    def _start(self) -> None:
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(
                target=_refresh_keys,
                args=(ref(self), self._signal),
                name="idlanyard keys",
                daemon=True,
            )
            try:
                # In a context of its own: Python may be told that threads inherit one, and this
                # one would keep the IDs of the request that began it.
                Context().run(self._thread.start)
            except RuntimeError as error:
                self._thread = None
                _failures.report_failure("the thread that fetches keys", error)

    def refresh_if_due(self) -> float | None:
        """
        Fetch the keys if that is due, and return the seconds until the next look.

        Returns:
            ``None`` if another thread does that, or nobody needs it any more.
        """
        with self._lock:
            if self._thread is not threading.current_thread():
                return None
            if self._closed:
                # Under the lock, so that opening again either keeps this thread or begins another.
                self._thread = None
                return None
            wanted, self._wanted = self._wanted, set()
        for kid in wanted:
            self._fetch(kid)
        for kid in self._list_due():
            # A request may wait for a key that is wanted, and for no other.
            if self._wanted or not self._fetch(kid):
                break
        self._drop_stale()
        if self._keys:
            self._arrived.set()
        with self._lock:
            if not self._wanted:
                self._settled.set()
        oldest = min(self._answered.values(), default=float("inf"))
        due = max(oldest + _HOUR, self._next_try)
        # A thread of keys that nobody uses any more ends at its next look.
        return max(0.0, min(due - self._clock(), self._look))

    def _list_due(self) -> list[str]:
        now = self._clock()
        if now < self._next_try:
            return []
        return [kid for kid, at in self._answered.items() if now - at >= _HOUR]

    def _fetch(self, kid: str) -> bool:
        """
        Fetch a key, or all of a key set, and return whether the server has answered.
        """
        known = self._keys or Keys()
        try:
            self._keys = self._load(known, kid)
        except Exception as error:
            if self._closed:
                return False
            is_gone = isinstance(error, NoKeyFits | KeyNotFound if self._by_id else NoKeyFits)
            if not is_gone:
                self._note_failure(error)
                return False
            self._withdraw(kid, str(error))
        else:
            self._answered[kid] = self._clock()
            self._forget_evicted()
        if self._failed:
            self._failed = 0
            self._log(logging.INFO, "the keys of %s can be fetched again", self._host)
        return True

    def _forget_evicted(self) -> None:
        keys = self._keys
        if self._by_id and keys is not None:
            self._answered = {kid: at for kid, at in self._answered.items() if keys.has(kid)}

    def _withdraw(self, kid: str, fault: str) -> None:
        """
        Take the keys away that the server says are no longer there.
        """
        known = self._keys
        if not self._by_id:
            self._answered[_ALL] = self._clock()
            self._keys = Keys()
            if known is None or len(known):
                self._log(
                    logging.WARNING,
                    "the key server %s has %s: tokens are refused until it has one",
                    self._host,
                    fault,
                )
            return
        self._answered.pop(kid, None)
        if known is not None and known.has(kid):
            self._keys = known.remove(kid)
            self._log(
                logging.WARNING,
                "a key of %s is withdrawn, there was %s: its tokens are refused",
                self._host,
                fault,
            )
        else:
            with suppress(Exception):
                _failures.warn_once(
                    f"a key of {self._host}: {fault}",
                    "idlanyard: a key that a token names is not at %s, there was %s",
                    self._host,
                    fault,
                )

    def _drop_stale(self) -> None:
        """
        Take the keys away that could not be fetched again for a day.
        """
        keys = self._keys
        if not keys:
            return
        now = self._clock()
        stale = [kid for kid, at in self._answered.items() if now - at >= _DAY]
        if not stale:
            return
        if self._by_id:
            for kid in stale:
                keys = keys.remove(kid)
                del self._answered[kid]
            self._keys = keys
        else:
            self._keys = None
            self._arrived.clear()
        self._log(
            logging.WARNING,
            "the keys of %s could not be fetched for 24 hours and no longer count: "
            "tokens are refused until they are there",
            self._host,
        )

    def _note_failure(self, error: Exception) -> None:
        """
        Count a failure, and log the first one of an outage.
        """
        self._failed += 1
        self._next_try = self._clock() + min(2.0 ** min(self._failed, 6), _MINUTE)
        fault = str(error) if isinstance(error, KeysUnusable) else type(error).__name__
        with suppress(Exception):
            _failures.count_failure(f"the keys of {self._host}: {fault}", error)
        if self._failed == 1:
            self._log(
                logging.WARNING,
                "the keys of %s could not be fetched, there was %s: %s",
                self._host,
                fault,
                "the last good ones count for 24 hours at most"
                if self._keys
                else "tokens are refused until they are there",
            )

    def _log(self, level: int, message: str, *args: object) -> None:
        # A filter or handler of the application that raises would end the thread, and with it the
        # keys.
        with suppress(Exception):
            _failures.LOGGER.log(level, f"idlanyard: {message}", *args)


def _refresh_keys(held: ref[FetchedKeys], signal: threading.Event) -> None:
    """
    Refresh the keys as long as anybody uses them.
    """
    while (keys := held()) is not None:
        pause = keys.refresh_if_due()
        if pause is None:
            return
        del keys
        signal.wait(pause)
        signal.clear()
