"""
Whether a server can keep what the registry promises: its layout, rights and settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import ceil
from secrets import token_hex
from typing import Any, Final, TypeVar

from redis.exceptions import InvalidResponse, NoPermissionError, ResponseError

from idlanyard._failures import warn_once
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._record import Draft
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._layout import TAGS, VERSION, Layout
from idlanyard.registry._redis._paging import page
from idlanyard.registry._redis._questions import delete, extend, insert

T = TypeVar("T")

_REPLICA: Final = "Redis is a replica here, which takes no sessions: write the primary's address"

# What a script may not do is told in words alone: by Redis 7 and Valkey, and by Redis 6.
_DENIED: Final = ("ACL failure in script", "The user executing the script can't")
_COMMANDS: Final = (
    "eval evalsha get set hget hmget hset del exists pexpire pexpireat persist pttl rename scan"
    " time zadd zcard zcount zrangebylex zrangebyscore zrem zmscore"
    " info select asking cluster|slots"
)


class Looked:
    """
    Whether a server has been looked at.

    Attributes:
        is_known: whether its namespace has this layout.
        is_told: whether its settings were asked for.
    """

    __slots__ = ("is_known", "is_told")

    def __init__(self) -> None:
        self.is_known = False
        self.is_told = False


def begun(place: Looked, layout: Layout, question: Steps[T]) -> Steps[T]:
    """
    Ask a question of a server; where it is the first, look at the server before.

    Args:
        place: what was looked at.
        layout: which namespace.
        question: the question.
    """
    if not place.is_known:
        nodes = yield "nodes", ()
        place.is_known = yield from _known(layout, "ask" if len(nodes) == 1 else "told")
        if not place.is_told:
            place.is_told = True
            for sentence in (yield from _settings(nodes[:1])):
                warn_once(sentence, "idlanyard: %s", sentence)
    return (yield from question)


def check(layout: Layout, timeout: float) -> Steps[list[str]]:
    """
    As ``Store.check``: a session is created and ended.
    """
    nodes = yield "nodes", ()
    yield from _known(layout, "ask")
    for node in nodes:
        yield "at", (node, "TIME")
    # Each of the slots is somebody's.
    asked = [("HMGET", layout.session(bytes([number]) * 32), "id") for number in range(TAGS)]
    yield "batch", (asked,)
    sentences = yield from _settings(nodes)
    if _REPLICA not in sentences:
        yield from _try(layout, timeout)
    return sentences


def _try(layout: Layout, timeout: float) -> Steps[None]:
    """
    Create a session and end it, as one with everything that a session may have.
    """
    name = f"check_{token_hex(16)}"
    key, ttl = sha256(name.encode()).digest(), ceil(timeout * 2_000_000)
    yield from insert(layout, Draft(key, name, key, name, "{}", ttl, key, key), timeout)
    yield from extend(layout, key, None, None, None, timeout)
    yield from page(layout, key, None, 1)
    yield from delete(layout, key, None, timeout)


def _known(layout: Layout, method: str) -> Steps[bool]:
    """
    Return whether the namespace is noted to have this layout, which is done where it may be.

    Args:
        layout: which namespace.
        method: how to ask; a cluster one of whose nodes is down serves without it.

    Raises:
        RegistryMisconfigured: it has another one.
    """
    start = () if method == "ask" else (None,)
    there = yield method, (*start, "GET", layout.version)
    if there is None:
        # Who may only be read, or is full, is asked again the next time.
        return (yield "told", (None, "SET", layout.version, VERSION, "NX")) is not None
    if not there.isdigit() or int(there) > VERSION:
        raise RegistryMisconfigured(
            "redis",
            f"the key {layout.version.decode()} says layout {there.decode(errors='replace')!r},"
            f" and this version of idlanyard knows {VERSION}:"
            " install the version that made it, or choose another namespace",
        )
    return True


def _settings(nodes: Sequence[Any]) -> Steps[list[str]]:
    """
    Return a sentence for each setting that voids a promise; who may not ask is told nothing.
    """
    sentences: list[str] = []
    for node in nodes:
        info = yield "told", (node, "INFO")
        if info is not None:
            saving = yield "told", (node, "CONFIG GET", "save")
            syncing = yield "told", (node, "CONFIG GET", "appendfsync")
            sentences += faults_of(info, saving or {}, syncing or {})
    return list(dict.fromkeys(sentences))


def faults_of(
    info: Mapping[str, Any], saving: Mapping[str, Any], syncing: Mapping[str, Any]
) -> list[str]:
    """
    Return a sentence for each of a server's settings that voids a promise.

    Args:
        info: its answer to INFO.
        saving: its answer to CONFIG GET save.
        syncing: its answer to CONFIG GET appendfsync.
    """
    sentences: list[str] = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        when = "once maxmemory is reached" if info.get("maxmemory") else "once maxmemory is set"
        sentences.append(
            f"Redis forgets sessions that have not expired {when}, and gives their IDs again,"
            f" by maxmemory-policy {policy}: write maxmemory-policy noeviction"
        )
    if info.get("role") == "slave":
        sentences.append(_REPLICA)
    if info.get("aof_enabled") == 0:
        kept = (
            "what was created since its last snapshot"
            if saving.get("save", "snapshots")
            else "every session"
        )
        sentences.append(
            f"Redis loses {kept} when it is stopped or killed, by appendonly no:"
            " write appendonly yes"
        )
    elif syncing.get("appendfsync") == "no":
        sentences.append(
            "Redis leaves it to the system when sessions are written, by appendfsync no:"
            " write appendfsync everysec, or always"
        )
    return sentences


def rights_of(layout: Layout) -> str:
    """
    Return the rights that the server's user needs, as rules of ACL SETUSER.
    """
    commands = " ".join(f"+{command}" for command in _COMMANDS.split())
    return f"~{layout.version.decode().removesuffix('layout}')}* {commands}"


def fault_of(error: BaseException, layout: Layout) -> str | None:
    """
    Return what waiting will not mend, and what to do; ``None`` where it may.
    """
    if isinstance(error, NoPermissionError) or any(mark in str(error) for mark in _DENIED):
        return (
            "the server's user lacks a right that the registry needs:"
            f" write ACL SETUSER name {rights_of(layout)}"
        )
    foreign = isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")
    if foreign or isinstance(error, InvalidResponse):
        return (
            "a key of the namespace has something in it that the registry has not written:"
            " choose another namespace, or remove that key"
        )
    return None
