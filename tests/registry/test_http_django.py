"""
The HTTP API as URL patterns of Django, behind its own middleware, on WSGI and ASGI servers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from registry.http_contract import HTTPBasics, HTTPContract
from registry.http_site import ASYNC, SYNC, Site, fresh

TESTS = Path(__file__).parents[1]

PATTERNS = """
from django.conf import settings
from registry.http_contract import POLICY, HTTPContract
from registry.http_site import {kind} as KIND

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="s" * 50,
    IDLANYARD=POLICY,
    MIDDLEWARE=[
        "idlanyard.integrations.django.SessionContextMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
)

import django
django.setup()

from django.urls import include, path
from idlanyard.registry.django import urlpatterns as sessions


class Included(HTTPContract):
    kind = KIND


urlpatterns = [
    path(prefix.strip("/") + "/", include(sessions(KIND.open("memory://", ttl=3600.0), **options)))
    for prefix, options in Included.options().items()
]

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

asgi = get_asgi_application()
wsgi = get_wsgi_application()
"""


class IncludedInDjango(HTTPBasics):
    """
    ``include(urlpatterns(...))`` in a Django project, served in a process of its own.
    """

    command: ClassVar[str]

    @classmethod
    @contextmanager
    def served(cls, url: str) -> Iterator[int]:
        """
        Serve it by the server that the class names.
        """
        with ExitStack() as stack:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            folder = Path(stack.enter_context(TemporaryDirectory()))
            kind = "SYNC" if cls.kind is SYNC else "ASYNC"
            folder.joinpath("patterns.py").write_text(PATTERNS.format(kind=kind), encoding="utf-8")
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
            paths = (str(folder), str(TESTS), os.environ.get("PYTHONPATH"))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            log = stack.enter_context(folder.joinpath("output").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *cls.command.format(fd=listening.fileno()).split()],
                pass_fds=[listening.fileno()],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
            try:
                yield listening.getsockname()[1]
            finally:
                process.terminate()
                process.wait(30)


class TestOnThreads(IncludedInDjango, HTTPContract):
    kind = SYNC
    command = "gunicorn -k gthread --threads 8 --no-control-socket -b fd://{fd} patterns:wsgi"


class TestAsync(IncludedInDjango, HTTPContract):
    kind = ASYNC
    command = "uvicorn --log-level error --fd {fd} patterns:asgi"

    def test_two_types_are_none(self, site: Site) -> None:
        """
        S4: a second Content-Type does not get a form in, from a client that stays for the answer:
        Django gives up whatever has half closed its connection.
        """
        name = fresh()
        types = ["text/plain", "application/json"]
        for pair in (types, types[::-1]):
            with closing(HTTPConnection("127.0.0.1", site.port, timeout=20)) as connection:
                connection.putrequest("POST", "/api/v1/session/create")
                for kind in pair:
                    connection.putheader("Content-Type", kind)
                body = json.dumps({"session_id": name}).encode()
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
                assert connection.getresponse().status == 422
        assert site.at("GET", name).status == 404


class TestOneAtATime(IncludedInDjango):
    kind = SYNC
    command = "gunicorn -k sync --preload --no-control-socket -b fd://{fd} patterns:wsgi"


class TestPlainViewsOnALoop(IncludedInDjango):
    kind = SYNC
    command = "daphne -v 0 --fd {fd} patterns:asgi"


PROJECT = """
import asyncio
import json
import sys

from django.conf import settings

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="s" * 50,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)

import django
django.setup()

from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import AsyncClient, Client
from django.urls import include, path

from idlanyard.registry import AsyncSessionRegistry, SessionRegistry
from idlanyard.registry.django import urlpatterns as sessions


def is_own(request):
    user = request.framework_request.user
    count = request.framework_request.session.get("asked", 0)
    request.framework_request.session["asked"] = count + 1
    if request.action == "create":
        return user.is_authenticated and request.body.get("client_id") == user.username
    return request.record is not None and request.record.client_id == user.username


async def is_own_async(request):
    user = await request.framework_request.auser()
    if request.action == "create":
        return user.is_authenticated and request.body.get("client_id") == user.username
    return request.record is not None and request.record.client_id == user.username


plain = SessionRegistry.open("memory://")
awaited = AsyncSessionRegistry.open("memory://")
urlpatterns = [
    path("plain/", include(sessions(plain, authorize=is_own))),
    path("awaited/", include(sessions(awaited, authorize=is_own))),
    path("async/", include(sessions(awaited, authorize=is_own_async))),
]
call_command("migrate", verbosity=0)
users = {name: User.objects.create_user(name) for name in ("alice", "bob")}
said = {}


def told(response):
    return response.status_code


def ask(at):
    alice, bob, nobody = (Client(enforce_csrf_checks=True) for _ in range(3))
    alice.force_login(users["alice"])
    bob.force_login(users["bob"])
    sent = {"session_id": "s1", "client_id": "alice"}
    make = at + "session/create"
    answers = [
        nobody.post(make, sent, content_type="application/json"),
        bob.post(make, sent, content_type="application/json"),
        alice.post(make, sent, content_type="application/json"),
        alice.post(make, sent),
        alice.get(at + "session/s1"),
        bob.get(at + "session/s1"),
        nobody.delete(at + "session/s1"),
        alice.delete(at + "session/s1"),
    ]
    return [told(answer) for answer in answers] + [alice.session.get("asked")]


async def ask_async(at):
    alice, bob, nobody = (AsyncClient(enforce_csrf_checks=True) for _ in range(3))
    await alice.aforce_login(users["alice"])
    await bob.aforce_login(users["bob"])
    sent = {"session_id": "s1", "client_id": "alice"}
    make = at + "session/create"
    answers = [
        await nobody.post(make, sent, content_type="application/json"),
        await bob.post(make, sent, content_type="application/json"),
        await alice.post(make, sent, content_type="application/json"),
        await alice.post(make, sent),
        await alice.get(at + "session/s1"),
        await bob.get(at + "session/s1"),
        await nobody.delete(at + "session/s1"),
        await alice.delete(at + "session/s1"),
    ]
    return [told(answer) for answer in answers]


said["plain"] = ask("/plain/")
for at in ("plain", "awaited", "async"):
    said[at + " on a loop"] = asyncio.run(ask_async("/" + at + "/"))
try:
    Client().get("/async/session/s1")
except ImproperlyConfigured as error:
    said["error"] = str(error)
print(json.dumps(said))
"""


def test_authorize_sees_who_is_logged_in(tmp_path: Path) -> None:
    """
    Authorize has Django's user and session, no CSRF token is asked for, and a form
    creates nothing, with either registry and plain and async functions.
    """
    tmp_path.joinpath("project.py").write_text(PROJECT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-Werror", "project.py", str(tmp_path / "users.db")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "Traceback" not in done.stderr
    sentence = said.pop("error")
    assert "write urlpatterns(SessionRegistry.open(...), ...)" in sentence
    assert said.pop("plain") == [403, 403, 200, 422, 200, 403, 403, 200, 3]
    expected = [403, 403, 200, 422, 200, 403, 403, 200]
    assert said == {f"{at} on a loop": expected for at in ("plain", "awaited", "async")}
