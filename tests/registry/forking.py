"""
Processes that fork, end, or have no room, with a registry in a file.

Each function is run in a process of its own by ``outcome_of``, and what it
returns is what the test sees.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from idlanyard.registry import (
    AsyncSessionRegistry,
    RegistryMisconfigured,
    RegistryUnavailable,
    SessionExists,
    SessionRegistry,
)
from idlanyard.registry._loops import OnLoop

NOBODY: Final = 65534
_HOME: Final = str(Path(__file__).parents[1])


def outcome_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """
    Run one of the functions below in a new process, and return what it returned.
    """
    # Forks beside threads, and ends without closing, are what some of them are about.
    ignored = ("ignore:This process:DeprecationWarning", "ignore:unclosed database:ResourceWarning")
    warnings = [f"-W{one}" for one in ("error", *ignored)]
    task = ["-m", __name__, function.__name__, json.dumps(arguments)]
    path = os.pathsep.join(filter(None, (_HOME, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *warnings, *task],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr, done.stderr
    assert not done.returncode, done.returncode
    return json.loads(done.stdout)


def _fork_announced() -> int:
    return os.fork()


def _fork_unannounced() -> int:
    # As a server in C does: none of Python's hooks is run.
    return int(ctypes.PyDLL(None).fork())


def _in_child(work: Callable[[], object], *, announced: bool = True) -> tuple[int, int]:
    """
    Begin *work* in a child, and return its number and where to read that it has ended.
    """
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = _fork_announced() if announced else _fork_unannounced()
    if child:
        os.close(writer)
        return child, reader
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        json.dump(work(), pipe)
    # What measures coverage in here writes it down.
    sys.exit()


def _ended(child: int, reader: int) -> Any:
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return json.loads(said)


def fork_then_close(url: str, announced: bool) -> Any:
    """
    Create here and in a child, which goes on when this process has let go of the file.

    Returns what the child knows, and what a new registry does while the child still lives.
    """
    registry = SessionRegistry.open(url)
    registry.create("before")
    registry.exists("before")
    go_on, end_here = os.pipe(), os.pipe()
    created = os.pipe()

    def work() -> list[bool]:
        registry.create("in the child")
        os.write(created[1], b"x")
        os.read(go_on[0], 1)
        registry.create("behind the parent's end")
        known = [registry.exists("before"), registry.exists("in the child")]
        os.write(created[1], b"x")
        os.read(end_here[0], 1)
        registry.close()
        return known

    child = _in_child(work, announced=announced)
    os.read(created[0], 1)
    registry.close()
    os.write(go_on[1], b"x")
    os.read(created[0], 1)
    with SessionRegistry.open(url) as another:
        names = ("before", "in the child", "behind the parent's end")
        seen = [another.exists(name) for name in names]
    os.write(end_here[1], b"x")
    return _ended(*child) + seen


def fork_in_the_middle(url: str, times: int) -> Any:
    """
    Fork while threads create and read; return what is missing, and how much was created.
    """
    registry = SessionRegistry.open(url, timeout=60)
    created: list[str] = []
    enough = Event()

    def create(start: str) -> None:
        number = 0
        while not enough.is_set():
            created.append(registry.create(f"{start}-{number}").session_id)
            registry.get(f"{start}-{number}")
            number += 1

    def work(number: int) -> list[str]:
        names = [registry.create(f"child-{number}-{one}").session_id for one in range(3)]
        registry.close()
        return names

    threads = [Thread(target=create, args=(f"thread-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(times):
        created += _ended(*_in_child(lambda number=number: work(number)))  # type: ignore[misc]
    enough.set()
    for thread in threads:
        thread.join()
    with registry:
        return [name for name in created if not registry.exists(name)], len(created)


def fork_in_several_threads(url: str) -> Any:
    """
    Fork in two threads at once; return what is missing.
    """
    registry = SessionRegistry.open(url, timeout=60)
    created: list[str] = []

    def work(name: str) -> str:
        registry.create(name)
        registry.close()
        return name

    def fork(start: str) -> None:
        for number in range(20):
            name = f"{start}-{number}"
            created.append(_ended(*_in_child_of_thread(lambda: work(name))))  # noqa: B023
            created.append(registry.create(f"{name}-here").session_id)

    threads = [Thread(target=fork, args=(start,)) for start in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with registry:
        return [name for name in created if not registry.exists(name)], len(created)


def _in_child_of_thread(work: Callable[[], object]) -> tuple[int, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    # The main thread is not here: only its end would be the process's.
    with os.fdopen(writer, "w") as pipe:
        json.dump(work(), pipe)
    os._exit(0)


def fork_between_awaits(url: str) -> Any:
    """
    Use an asynchronous registry, and go on with it in a child.
    """
    registry = AsyncSessionRegistry.open(url)

    async def create(name: str) -> bool:
        await registry.create(name)
        known = await registry.exists("here")
        await registry.close()
        return known

    async def begin() -> None:
        await registry.create("here")

    asyncio.run(begin())
    known = _ended(*_in_child(lambda: asyncio.run(create("there"))))
    return known, asyncio.run(create("again"))


def fork_between_loops() -> Any:
    """
    Make the state of a loop here, and another in a child.

    Returns what the child could take, what it made and what it abandoned, and the state here.
    """
    made: list[int] = []
    abandoned: list[int] = []

    def begin() -> int:
        made.append(len(made) + 1)
        return made[-1]

    home = OnLoop(begin, abandoned.append)

    async def use() -> int:
        return home.get()

    def work() -> list[Any]:
        return [home.take(), asyncio.run(use()), abandoned]

    with asyncio.Runner() as runner:
        runner.run(use())
        said = _ended(*_in_child(work))
        return said, runner.run(use())


def open_new_files(urls: list[str]) -> Any:
    """
    In several processes, make each file at the same moment; return who created what.
    """
    starts = [os.pipe() for _ in range(4)]

    def work(number: int) -> list[list[str]]:
        won = []
        for url in urls:
            os.read(starts[number][0], 1)
            with SessionRegistry.open(url) as registry:
                mine = registry.create(f"{number}").session_id
                try:
                    won.append([mine, registry.create("everybody's").session_id])
                except SessionExists:
                    won.append([mine])
        return won

    children = [_in_child(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    for _ in urls:
        for _, begin in starts:
            os.write(begin, b"x")
    return [_ended(*child) for child in children]


def end_without_closing(url: str, awaited: bool) -> Any:
    """
    Use a registry, and end the process without closing it.
    """
    if not awaited:
        SessionRegistry.open(url).create("kept")
        return None
    registry = AsyncSessionRegistry.open(url)

    async def use() -> None:
        await registry.create("kept")
        await registry.exists("kept")

    asyncio.run(use())
    # Referred to until the very end.
    sys.modules[__name__].__dict__["left"] = registry
    return None


def run_out_of_room(url: str) -> Any:
    """
    Create until the file may not grow, then let it, and create again.
    """
    created: list[str] = []
    with SessionRegistry.open(url) as registry:
        registry.create("before")
        least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, most))
        cause = ""
        try:
            while True:
                name = f"{len(created)}"
                registry.create(name, metadata={"x": "y" * 10_000})
                created.append(name)
        except RegistryUnavailable as error:
            cause = type(error.__cause__).__name__
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
        registry.create("after")
        missing = [name for name in [*created, "before"] if not registry.exists(name)]
        return cause, len(created) > 3, missing


def ask_where_one_may_only_read(url: str, verb: str) -> Any:
    """
    As an ordinary user, ask for something in a file that is there and may not be written.
    """
    with SessionRegistry.open(url) as registry:
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            return repr(getattr(registry, verb)("there"))
        except RegistryMisconfigured as error:
            return error.fault
        finally:
            os.seteuid(user)


def open_without_room(url: str) -> Any:
    """
    Use a registry that is opened where no file may grow, then let them, and use it again.
    """

    def cause_of(verb: Callable[[], object]) -> str:
        try:
            verb()
        except RegistryUnavailable as error:
            return type(error.__cause__).__name__
        return "none"

    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    with SessionRegistry.open(url) as registry:
        said: dict[str, object] = {
            "exists": registry.exists("there"),
            "find": len(registry.find(client_id="c")),
            "count": registry.count(),
            "create": cause_of(registry.create),
            "touch": cause_of(lambda: registry.touch("there")),
            "check": cause_of(registry.check),
            "again": registry.exists("there"),
        }
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
        said["afterwards"] = registry.create("new").session_id
    return said


if __name__ == "__main__":
    _, name, arguments = sys.argv
    # What is logged would be taken for something that went wrong.
    logging.getLogger("idlanyard").addHandler(logging.NullHandler())
    outcome = globals()[name](*json.loads(arguments))
    json.dump(outcome, sys.stdout)
