"""
Checks whether a server can keep the registry's promises: its layout, settings and rights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from redis.exceptions import InvalidResponse, NoPermissionError, ResponseError

from idlanyard._failures import warn_once
from idlanyard.registry._exceptions import RegistryMisconfigured
from idlanyard.registry._redis._claims import Steps
from idlanyard.registry._redis._keys import TAGS, VERSION, Namespace

T = TypeVar("T")

REPLICA: Final = "Redis is a replica here, which takes no sessions: write the primary's address"

# Errors inside a script have no code of their own: text of Redis 7 and Valkey, and of Redis 6.
_DENIED: Final = ("ACL failure in script", "The user executing the script can't")
_COMMANDS: Final = (
    "eval evalsha get set hget hmget hset del exists pexpire pexpireat persist pttl rename scan"
    " time zadd zcard zcount zlexcount zrangebylex zrangebyscore zrem zmscore"
    " info select asking cluster|slots"
)


class FirstLook:
    """
    Progress of a store's first look at its server.

    Attributes:
        has_layout: whether the namespace is known to have our layout.
        has_warned: whether the settings were checked.
    """

    __slots__ = ("has_layout", "has_warned")

    def __init__(self) -> None:
        self.has_layout = False
        self.has_warned = False


def look_first(look: FirstLook, space: Namespace, steps: Steps[T]) -> Steps[T]:
    """
    Take the steps to an answer, but first look at the server unless that was done before.
    """
    if not look.has_layout:
        nodes = yield "nodes", ()
        look.has_layout = yield from _check_layout(
            space, "send" if len(nodes) == 1 else "try_send_to"
        )
        if not look.has_warned:
            look.has_warned = True
            for sentence in (yield from _check_settings(nodes[:1])):
                warn_once(sentence, "idlanyard: %s", sentence)
    return (yield from steps)


def check_server(space: Namespace) -> Steps[list[str]]:
    """
    Return a sentence for each setting that breaks a promise.

    Raises:
        RegistryMisconfigured: the namespace has another layout.
    """
    nodes = yield "nodes", ()
    yield from _check_layout(space, "send")
    for node in nodes:
        yield "send_to", (node, "TIME")
    # This fails if a slot that a session may be in belongs to no node.
    commands = [("HMGET", space.session(bytes([tag]) * 32), "id") for tag in range(TAGS)]
    yield "send_all", (commands,)
    return (yield from _check_settings(nodes))


def _check_layout(space: Namespace, method: str) -> Steps[bool]:
    """
    Return whether the namespace has our layout's version, which is written if there is none.

    Args:
        space: names of the keys.
        method: ``send``, or ``try_send_to`` for a cluster, which works while a node is down.

    Raises:
        RegistryMisconfigured: the namespace has another layout.
    """
    start = () if method == "send" else (None,)
    there = yield method, (*start, "GET", space.version)
    if there is None:
        # A replica and a full server refuse it: the next question tries again.
        return (yield "try_send_to", (None, "SET", space.version, VERSION, "NX")) is not None
    if not there.isdigit() or int(there) > VERSION:
        raise RegistryMisconfigured(
            "redis",
            f"the key {space.version.decode()} says layout {there.decode(errors='replace')!r},"
            f" and this version of idlanyard knows {VERSION}:"
            " install the version that made it, or choose another namespace",
        )
    return True


def _check_settings(nodes: Sequence[Any]) -> Steps[list[str]]:
    """
    Return a sentence for each setting that breaks a promise; none without the right to ask.
    """
    sentences: list[str] = []
    for node in nodes:
        info = yield "try_send_to", (node, "INFO")
        if info is not None:
            saving = yield "try_send_to", (node, "CONFIG GET", "save")
            syncing = yield "try_send_to", (node, "CONFIG GET", "appendfsync")
            sentences += faults_of(info, saving or {}, syncing or {})
    return list(dict.fromkeys(sentences))


def faults_of(
    info: Mapping[str, Any], saving: Mapping[str, Any], syncing: Mapping[str, Any]
) -> list[str]:
    """
    Return a sentence for each of a server's settings that breaks a promise.

    Args:
        info: answer to INFO.
        saving: answer to CONFIG GET save.
        syncing: answer to CONFIG GET appendfsync.
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
        sentences.append(REPLICA)
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


def rights_of(space: Namespace) -> str:
    """
    Return the rights that the server's user needs, as ACL SETUSER takes them.
    """
    commands = " ".join(f"+{command}" for command in _COMMANDS.split())
    return f"~{space.version.decode().removesuffix('layout}')}* {commands}"


def namespace_fault(error: BaseException, space: Namespace) -> str | None:
    """
    Return the sentence about a missing right or a foreign key; ``None`` for other errors.
    """
    if isinstance(error, NoPermissionError) or any(mark in str(error) for mark in _DENIED):
        return (
            "the server's user lacks a right that the registry needs:"
            f" write ACL SETUSER name {rights_of(space)}"
        )
    foreign = isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")
    if foreign or isinstance(error, InvalidResponse):
        return (
            "a key of the namespace has something in it that the registry has not written:"
            " choose another namespace, or remove that key"
        )
    return None
