"""
What goes wrong with a file: what passes by itself, what does not, and what makes it less safe.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from errno import ELOOP, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from typing import Final

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
_OF_THE_DISK: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
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


def is_busy(error: BaseException) -> bool:
    """
    Return whether somebody else has the file locked.
    """
    return code_of(error) & 0xFF in _BUSY


def code_of(error: BaseException) -> int:
    """
    Return SQLite's number of an error; 0 where it is none of SQLite's.
    """
    return int(getattr(error, "sqlite_errorcode", 0))


def fault_of(error: BaseException, path: Path) -> str | None:
    """
    Return what waiting will not mend, as a sentence; ``None`` where it may.
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
    if code_of(error) & 0xFF in _OF_THE_DISK:
        return None
    is_allowed = _is_allowed(path, os.R_OK | os.W_OK) and _is_allowed(
        path.parent, os.W_OK | os.X_OK
    )
    return None if is_allowed else _NO_RIGHTS


def sentences_on(connection: sqlite3.Connection, path: Path, mounts: Path = MOUNTS) -> list[str]:
    """
    Return a sentence for each thing that makes the file less than it is promised to be.
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


def _is_allowed(path: Path, mode: int) -> bool:
    """
    Return whether this process may do that; what is missing is nobody's fault.
    """
    effective = os.access in os.supports_effective_ids
    return os.access(path, mode, effective_ids=effective) or not path.exists()


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """
    Return the kind of file system that a file is on; ``""`` where that is not told.
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
