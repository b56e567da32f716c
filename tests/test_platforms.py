"""
What Windows lacks is not needed: the package is imported and used without it.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import idlanyard

PACKAGE = Path(idlanyard.__file__).parent

PROGRAM = """
import sys

sys.path.insert(0, sys.argv[1])

# Python's own library has chosen by now what it needs of this system.
import asyncio, concurrent.futures, concurrent.futures.process, json, logging.handlers
import multiprocessing.spawn, pickle, random, socket, sqlite3, ssl, subprocess, tempfile, uuid
import http.server, importlib, io, pkgutil, signal, urllib.request
import os, time

for name in "register_at_fork fork forkpty getuid geteuid getgid getegid chown fchmod O_NOFOLLOW \
        O_NONBLOCK killpg setsid getpgid mkfifo sched_getaffinity uname wait3 statvfs".split():
    if hasattr(os, name):
        delattr(os, name)
for name in "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE SIGQUIT alarm pause".split():
    delattr(signal, name)
for name in "AF_UNIX SO_REUSEPORT".split():
    if hasattr(socket, name):
        delattr(socket, name)
for name in "fcntl resource pwd grp termios tty pty syslog posix_ipc".split():
    sys.modules[name] = None

# Windows knows the time formats of C89 and no others.
strftime = time.strftime
def strict(format, *moment):
    used = {format[at + 1] for at, letter in enumerate(format) if letter == "%"}
    assert not used - set("aAbBcdHIjmMpSUwWxXyYZ%")
    return strftime(format, *moment)
time.strftime = strict

import idlanyard

found, lacking = [], []
for module in pkgutil.walk_packages(idlanyard.__path__, "idlanyard.", onerror=lambda name: None):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert error.name.partition(".")[0] not in ("idlanyard", "fcntl", "resource", "pwd"), error
        lacking.append(module.name)
    else:
        found.append(module.name)

from idlanyard import Policy, asgi, carry, dump, get_session_context, identify, ids, restore, wsgi

async def app(scope, receive, send):
    identify(user_id="alice")
    found.append(dump())
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def request():
    sent = []
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "path": "/", "headers": [(b"x-session-id", b"s1")]}
    await asgi.SessionContextMiddleware(app, Policy())(scope, None, send)
    return dict(sent[0]["headers"])

def wsgi_app(environ, start_response):
    found.append(dump())
    start_response("200 OK", [])
    return [b""]

# A loop of this system would need unix sockets; the request waits for nothing.
try:
    request().send(None)
except StopIteration as stop:
    echoed = stop.value
assert (echoed[b"x-session-id"], echoed[b"x-user-id"]) == (b"s1", b"alice")
job = json.loads(json.dumps(found.pop()))
with restore(job):
    assert get_session_context().as_dict() == {"session_id": "s1", "user_id": "alice"}
    carried = pickle.loads(pickle.dumps(carry(get_session_context)))
assert carried().as_dict() == {"session_id": "s1", "user_id": "alice"}
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_SESSION_ID": "s2"}
wsgi.SessionContextMiddleware(wsgi_app)(environ, lambda *_: None)
assert found.pop() == {"session_id": ["s2", "client"]}
assert ids.timestamped().startswith("session_2")
for text in ("a/b", "a" + chr(92) + "b", "con", "c:d", "x.", "NUL", "com1", "lpt9"):
    name = ids.safe_filename(text)
    assert not set(name) & set("<>:/|?*." + chr(92) + chr(34)), name
    assert name.upper() not in ("CON", "NUL", "COM1", "LPT9"), name

from idlanyard.registry import SessionRegistry
for url in ("memory://", "sqlite:///" + sys.argv[1].replace(os.sep, "/") + "/sessions.db"):
    with SessionRegistry.open(url) as registry:
        registry.create("c1")
        assert registry.exists("c1")
print(len(found), len(lacking))
"""


def test_everything_works_without_what_windows_lacks(tmp_path: Path) -> None:
    """
    Without forks, unix sockets and their modules all is imported, and IDs go round and round.
    """
    shutil.copytree(PACKAGE, tmp_path / "idlanyard", ignore=shutil.ignore_patterns("__pycache__"))
    # No third party can be imported there, as none is needed.
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, lacking = map(int, done.stdout.split())
    assert found > lacking > 0


MISSING = {
    "os": {
        "register_at_fork",
        "fork",
        "getuid",
        "geteuid",
        "getgid",
        "chown",
        "fchmod",
        "killpg",
        "setsid",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "sched_getaffinity",
        "uname",
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE"},
    "socket": {"AF_UNIX", "SO_REUSEPORT"},
}
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_file_names_what_one_system_lacks(path: Path) -> None:
    """
    A function that some platforms lack is looked up by getattr, in integrations and stores too.
    """
    named: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in MISSING.get(node.value.id, ()):
                named.append(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Import):
            named += [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            gone = MISSING.get(node.module, set())
            named += [alias.name for alias in node.names if alias.name in gone]
            named += [node.module] if node.module in MODULES else []
    assert named == []
