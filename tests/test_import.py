"""
Importing the package costs the standard library only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

import idlanyard

HOME = Path(idlanyard.__file__).parent

MODULES = (
    "idlanyard",
    "idlanyard.asgi",
    "idlanyard.certificates",
    "idlanyard.context",
    "idlanyard.ids",
    "idlanyard.signing",
    "idlanyard.testing",
    "idlanyard.wsgi",
    "idlanyard.__main__",
)

LOADED = """
import json, sys
sys.path += json.loads(sys.argv[2])
__import__(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""

REQUESTS = """
import asyncio
from idlanyard import Policy, get_session_id, identify
from idlanyard.asgi import SessionContextMiddleware as ASGI
from idlanyard.wsgi import SessionContextMiddleware as WSGI

async def asgi_app(scope, receive, send):
    identify(user_id="u1")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": get_session_id().encode()})

def wsgi_app(environ, start_response):
    identify(user_id="u1")
    start_response("200 OK", [])
    return [get_session_id().encode()]

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

sent = []

async def send(message):
    sent.append(message)

scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"",
         "headers": [(b"x-session-id", b"s1")], "client": ("127.0.0.1", 1)}
asyncio.run(ASGI(asgi_app, Policy())(scope, receive, send))
headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
print(headers["x-session-id"], headers["x-user-id"], sent[1]["body"].decode())

def start_response(status, headers, exc_info=None):
    names = {name.lower(): value for name, value in headers}
    print(names["x-session-id"], names["x-user-id"], end=" ")

environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "",
           "REMOTE_ADDR": "127.0.0.1", "HTTP_X_SESSION_ID": "s1"}
print(b"".join(WSGI(wsgi_app, Policy())(environ, start_response)).decode())
"""


def _run(python: str, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-I", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("module", [pytest.param(module, id=module) for module in MODULES])
def test_import_loads_no_third_party_module(module: str) -> None:
    """Importing the package loads the standard library and itself, with all else at hand."""
    paths = json.dumps([str(HOME.parent), sysconfig.get_path("purelib")])
    loaded = json.loads(_run(sys.executable, "-S", "-c", LOADED, module, paths))
    tops = {name.partition(".")[0] for name in loaded}
    assert "idlanyard" in tops
    assert tops - set(sys.stdlib_module_names) - {"idlanyard", "__main__", "__mp_main__"} == set()


@pytest.mark.parametrize("door", ["idlanyard.asgi", "idlanyard.wsgi"])
def test_a_door_loads_nothing_that_asyncio_has_not_loaded(door: str) -> None:
    """Beside asyncio and dataclasses, a door loads nothing else of the standard library."""
    # Not by the code above, which itself loads json.
    code = (
        "import asyncio, dataclasses, sys; sys.path.append(sys.argv[2]); "
        "__import__(sys.argv[1]); print(*sys.modules)"
    )
    ours = _run(sys.executable, "-S", "-c", code, door, str(HOME.parent)).split()
    theirs = _run(sys.executable, "-S", "-c", code, "__future__", str(HOME.parent)).split()
    assert door in ours
    assert [name for name in {*ours} - {*theirs} if not name.startswith("idlanyard")] == []


# What the application has loaded anyway, since it uses the framework.
FRAMEWORKS = {
    "starlette": "starlette.applications, starlette.middleware.errors",
    "fastapi": "fastapi",
    "flask": "flask",
    "django": "django.conf, django.http, django.core.signals, django.contrib.auth.signals",
}


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in FRAMEWORKS])
def test_an_integration_loads_nothing_else_foreign(name: str) -> None:
    """Importing an integration loads its framework and ourselves, no other."""
    paths = json.dumps([str(HOME.parent), sysconfig.get_path("purelib")])
    module = f"idlanyard.integrations.{name}"
    ours = set(json.loads(_run(sys.executable, "-S", "-c", LOADED, module, paths)))
    without = LOADED.replace("__import__(sys.argv[1])", f"import {FRAMEWORKS[name]}")
    theirs = set(json.loads(_run(sys.executable, "-S", "-c", without, module, paths)))
    tops = {loaded.partition(".")[0] for loaded in ours - theirs}
    assert module in ours
    assert tops - set(sys.stdlib_module_names) == {"idlanyard"}
    others = {loaded for loaded in ours if loaded.startswith("idlanyard.integrations.")}
    allowed = [module, "idlanyard.integrations.custom"]
    allowed += ["idlanyard.integrations.starlette"] if name == "fastapi" else []
    assert {loaded for loaded in others if not loaded.startswith(tuple(allowed))} == set()


@pytest.mark.parametrize(
    ("door", "other"),
    [
        pytest.param("idlanyard.wsgi", "idlanyard.asgi", id="wsgi"),
        pytest.param("idlanyard.asgi", "idlanyard.wsgi", id="asgi"),
    ],
)
def test_doors_load_apart(door: str, other: str) -> None:
    """One door is imported without the other."""
    paths = json.dumps([str(HOME.parent)])
    loaded = json.loads(_run(sys.executable, "-S", "-c", LOADED, door, paths))
    assert (door in loaded, other in loaded) == (True, False)


def test_package_works_alone(tmp_path: Path) -> None:
    """Both middlewares serve a request where nothing else is installed."""
    venv.create(tmp_path, with_pip=False, symlinks=True)
    scheme = "nt" if sys.platform == "win32" else "venv"
    variables = {"base": str(tmp_path), "platbase": str(tmp_path)}
    site_packages = Path(sysconfig.get_path("purelib", scheme, variables))
    shutil.copytree(HOME, site_packages / "idlanyard", ignore=shutil.ignore_patterns("__pycache__"))
    python = Path(sysconfig.get_path("scripts", scheme, variables)) / "python"
    answers = _run(str(python), "-W", "error", "-c", REQUESTS).splitlines()
    assert answers == ["s1 u1 s1", "s1 u1 s1"]
    assert [path.name for path in site_packages.iterdir()] == ["idlanyard"]


def test_types_are_shipped() -> None:
    """The package says that it is typed (PEP 561)."""
    assert (HOME / "py.typed").is_file()


def test_no_third_party_is_required() -> None:
    """The distribution requires nothing but its extras."""
    required = [line for line in metadata.requires("idlanyard") or [] if "extra ==" not in line]
    assert required == []
