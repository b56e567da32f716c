"""
The file itself: whether it is still the one in use, what is wrong with it, what weakens it.

SQLite goes on using a file, or a log, that has been removed or replaced. No
other process ever sees what such a file acknowledges.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from errno import ELOOP, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from time import time_ns
from typing import Final, NamedTuple, TypeAlias

Identity: TypeAlias = tuple[int, int]
Folder: TypeAlias = tuple[int, int, int]

_SETTLED: Final = 3_000_000_000
"""
Nanoseconds after which the next change of a folder changes its timestamp, on any file system.
"""
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
_DISK_ERRORS: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_NO_PATH: Final = (ELOOP, ENAMETOOLONG, ENOTDIR)
_NO_RIGHTS: Final = (
    "this process may not read and write the file and its folder: give its user the rights to both"
)
_NETWORKS: Final = frozenset(
    (
        *("9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2"),
        *("lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "vboxsf"),
    )
)
_VANISHING: Final = frozenset(("devtmpfs", "ramfs", "tmpfs"))
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
MOUNTS: Final = Path("/proc/self/mounts")


class Sight(NamedTuple):
    """
    The files that are there at one moment.

    Attributes:
        files: the file, its log and the log's index; ``None`` for one of the
            latter two that is not there.
        folder: the folder and the time of its last change; ``None`` if its
            next change might not show in that time.
    """

    files: tuple[Identity, Identity | None, Identity | None]
    folder: Folder | None


class Place:
    """
    The path of a file, and whether the file there is still the same.

    Attributes:
        path: the path.
        uri: the path as a URL.
    """

    __slots__ = ("_folder", "_name", "path", "uri")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._folder = str(path.parent)
        self.uri = path.as_uri()

    def sight(self) -> Sight:
        """
        Return the files that are there now.

        Raises:
            OSError: there is no file.
        """
        folder, name = self._read_folder(), self._name
        is_settled = time_ns() - folder[2] > _SETTLED
        if os.path.islink(name):  # noqa: PTH114, plain names all over here
            # Changes of the file show in another folder.
            name, is_settled = os.path.realpath(name), False
        files = _identify(name), _identify_if_any(f"{name}-wal"), _identify_if_any(f"{name}-shm")
        return Sight(files, folder if is_settled else None)

    def verify(self, before: Sight) -> Sight:
        """
        Return the files that are there now, if they are the same as before.

        Raises:
            OSError: a file is gone, or replaced.
        """
        if before.folder is not None and self._read_folder() == before.folder:
            return before
        now = self.sight()
        for old, new in zip(before.files, now.files, strict=True):
            # A log that was not there may appear at any time.
            if old is not None and old != new:
                raise FileNotFoundError("another file has taken the place of the one in use")
        return now

    def _read_folder(self) -> Folder:
        status = os.stat(self._folder)  # noqa: PTH116, every verb pays for it
        return status.st_ino, status.st_dev, status.st_mtime_ns


def _identify(name: str) -> Identity:
    status = os.stat(name)  # noqa: PTH116, some verbs pay for it
    return status.st_ino, status.st_dev


def _identify_if_any(name: str) -> Identity | None:
    try:
        return _identify(name)
    except FileNotFoundError:
        return None


def is_busy(error: BaseException) -> bool:
    """
    Return whether another connection has the file locked.
    """
    return code_of(error) & 0xFF in _BUSY


def code_of(error: BaseException) -> int:
    """
    Return SQLite's code of an error; 0 if the error is not SQLite's.
    """
    return int(getattr(error, "sqlite_errorcode", 0))


def find_fault(error: BaseException, path: Path) -> str | None:
    """
    Return the cause of an error as a sentence; ``None`` if waiting may help.
    """
    if code_of(error) & 0xFF == sqlite3.SQLITE_NOTADB:
        return "the file is not an SQLite database: name another one, or move it away"
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return _NO_RIGHTS
    except OSError as missing:
        if missing.errno in _NO_PATH:
            return f"there can be no such file ({missing.strerror}): name another one"
        return None if _is_allowed(path.parent, os.W_OK | os.X_OK) else _NO_RIGHTS
    if stat.S_ISDIR(mode):
        return "the URL names a folder: add the name of a file in it, such as 'sessions.db'"
    if not stat.S_ISREG(mode):
        return "the URL names something that is not a file: name a file"
    if code_of(error) & 0xFF in _DISK_ERRORS:
        return None
    is_allowed = _is_allowed(path, os.R_OK | os.W_OK) and _is_allowed(
        path.parent, os.W_OK | os.X_OK
    )
    return None if is_allowed else _NO_RIGHTS


def list_weaknesses(connection: sqlite3.Connection, path: Path, mounts: Path = MOUNTS) -> list[str]:
    """
    Return a sentence for each thing that weakens what the registry promises.
    """
    sentences: list[str] = []
    kind = file_system_of(path, mounts)
    if kind in _NETWORKS:
        sentences.append(
            f"the session registry's file is on a network file system ({kind}), where two "
            "machines may destroy it: move it to a local disk, or use PostgreSQL or Redis"
        )
    if kind in _VANISHING:
        sentences.append(
            f"the session registry's file is in memory ({kind}), and gone when the machine "
            "restarts: move it to a disk"
        )
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        sentences.append(
            f"the session registry's file has journal_mode {mode}, with which readers and writers "
            "wait for each other: move it to a local disk, where it gets a write-ahead log"
        )
    return sentences


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """
    Return the type of the file system that a file is on; ``""`` if the system does not tell.
    """
    found, kind = "", ""
    place = os.path.realpath(path)
    try:
        lines = mounts.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, point, its_kind, *_ = line.split(" ")
        point = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), point)
        if len(point) >= len(found) and f"{place}/".startswith(f"{point.rstrip('/')}/"):
            found, kind = point, its_kind
    return kind


def _is_allowed(path: Path, mode: int) -> bool:
    """
    Return whether this process has these rights, or there is nothing at the path.
    """
    effective = os.access in os.supports_effective_ids
    return os.access(path, mode, effective_ids=effective) or not path.exists()
