"""
Where a file is, and whether it is still the one that a connection has open.

SQLite goes on in a file that has been removed or replaced, and with a log
that has been: what it acknowledges then, nobody else ever sees.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from weakref import WeakSet

if TYPE_CHECKING:
    from idlanyard.registry._sqlite._file import File

Identity: TypeAlias = tuple[int, int]
Folder: TypeAlias = tuple[int, int, int]

_SETTLED: Final = 3_000_000_000
"""
After how many nanoseconds the next change of a folder shows in its time, on any file system.
"""


class Sight(NamedTuple):
    """
    What is there at one moment.

    Attributes:
        files: the file, its log and the log's index; the latter two if they are there.
        folder: their folder and when it changed last; ``None`` where that could
            miss the next change.
    """

    files: tuple[Identity, Identity | None, Identity | None]
    folder: Folder | None


class Place:
    """
    Where a file is, and what the connections to it have to know of each other.

    Attributes:
        path: where it is.
        uri: the same as a URL.
        known: whether it has been there.
        failures: how often a connection to it failed.
        files: those who may have one.
    """

    __slots__ = ("_folder", "_name", "failures", "files", "known", "path", "uri")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._folder = str(path.parent)
        self.uri = path.as_uri()
        self.known = False
        self.failures = 0
        self.files: WeakSet[File] = WeakSet()

    def sight(self) -> Sight:
        """
        Return what is there now.

        Raises:
            OSError: there is no file.
        """
        folder, name = self._folder_now(), self._name
        is_telling = time_ns() - folder[2] > _SETTLED
        if os.path.islink(name):  # noqa: PTH114, plain names all over here
            # What happens to the file shows in another folder.
            name, is_telling = os.path.realpath(name), False
        files = _identity(name), _if_any(f"{name}-wal"), _if_any(f"{name}-shm")
        return Sight(files, folder if is_telling else None)

    def verify(self, before: Sight) -> Sight:
        """
        Return what is there now, if it is what was there before.

        Raises:
            OSError: a file is gone, or another has taken its place.
        """
        if before.folder is not None and self._folder_now() == before.folder:
            return before
        now = self.sight()
        for old, new in zip(before.files, now.files, strict=True):
            # A log that was not there may come at any time.
            if old is not None and old != new:
                raise FileNotFoundError("another file has taken the place of the one in use")
        return now

    def _folder_now(self) -> Folder:
        status = os.stat(self._folder)  # noqa: PTH116, every verb pays for it
        return status.st_ino, status.st_dev, status.st_mtime_ns


def _identity(name: str) -> Identity:
    status = os.stat(name)  # noqa: PTH116, some verbs pay for it
    return status.st_ino, status.st_dev


def _if_any(name: str) -> Identity | None:
    try:
        return _identity(name)
    except FileNotFoundError:
        return None
