"""
The keys of an assertion: pinned, or fetched by a thread of their own and never by a request.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Final, TypeAlias
from weakref import ref

from idlanyard import _failures
from idlanyard.signing._assertions.fetching import KeyURL, fetch_answer
from idlanyard.signing._assertions.keys import Keys, KeysUnusable, read_answer, read_pem

Load: TypeAlias = Callable[[Keys, str], Keys]
"""
Fetches keys, given those that are there and the ID of the one that is wanted.
"""

_REFRESH: Final = 3600.0
_MINUTE: Final = 60.0
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

    A failure leaves the last good keys as they are. Every hour, and at most
    once a minute for an unknown key ID, they are fetched again. A process that
    is forked has a thread of its own from its first token on.

    Args:
        load: fetches the keys.
        host: the key server, for the log.
        by_id: whether each key is fetched by itself, when a token names it:
            eight of them a minute at most, and none again.
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
        self._due = float("inf") if by_id else clock()
        self._failed = 0
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

    def get_keys(self) -> Keys | None:
        """
        Return the keys, or ``None`` if there are none yet.
        """
        # Not by register_at_fork: uWSGI calls those functions only if it is told to.
        if self._pid != os.getpid():
            self._begin_anew()
        if self._thread is None:
            self._start()
        return self._keys

    def ask_for(self, kid: str | None) -> None:
        """
        Ask for a refresh, unless that was done within the last minute.
        """
        if self._keys is None or (self._by_id and not _SHORT_ID.fullmatch(kid or "")):
            return
        now = self._clock()
        # A key set is fetched as a whole, whatever key is missing.
        wanted, most = (kid or "", _MOST_ASKED) if self._by_id else ("", 1)
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
        self._settled.wait(seconds)

    def wait_for_keys(self, seconds: float) -> bool:
        """
        Wait until there are keys, and return whether there are.
        """
        return bool(self.get_keys()) or self._arrived.wait(seconds)

    def close(self) -> None:
        """
        End the thread, at once or when its request is over; the keys go on being used.
        """
        self._closed = True
        self._signal.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
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
        if self._closed or self._thread is not threading.current_thread():
            return None
        with self._lock:
            wanted, self._wanted = self._wanted, set()
        is_due = self._clock() >= self._due
        for kid in wanted or ([""] if is_due else []):
            self._fetch(kid)
        if self._keys:
            self._arrived.set()
        with self._lock:
            if not self._wanted:
                self._settled.set()
        # A thread of keys that nobody uses any more ends at its next look.
        return max(0.0, min(self._due - self._clock(), self._look))

    def _fetch(self, kid: str) -> None:
        try:
            self._keys = self._load(self._keys or Keys(), kid)
        except Exception as error:
            if self._closed:
                return
            self._report(str(error) if isinstance(error, KeysUnusable) else type(error).__name__)
            self._failed = min(self._failed + 1, 6)
            pause = min(2.0**self._failed, _MINUTE)
        else:
            self._failed = 0
            pause = _REFRESH
        if not self._by_id:
            self._due = self._clock() + pause

    def _report(self, fault: str) -> None:
        _failures.warn_once(
            f"keys of {self._host}: {fault}",
            "idlanyard: the keys of %s could not be fetched, there was %s: %s",
            self._host,
            fault,
            "the last good ones stay" if self._keys else "tokens are refused until they are there",
        )


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
