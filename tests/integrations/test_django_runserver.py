"""
``manage.py runserver`` with our application installed: whose command it is, and its lines.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

BEHIND = """
import django
from django.conf import settings

settings.configure(INSTALLED_APPS={apps!r})
django.setup()
from django.core.management import load_command_class, get_commands
from django.core.servers.basehttp import WSGIServer

command = load_command_class(get_commands()["runserver"], "runserver")
print(*[base.__module__ for base in type(command).__mro__[:2]])
assert issubclass(command.server_cls, WSGIServer)
"""
OURS = "idlanyard.integrations.django"
STATIC = "django.contrib.staticfiles"
COMMAND = "management.commands.runserver"


@pytest.mark.parametrize(
    ("apps", "found"),
    [
        pytest.param(
            [OURS], [f"{OURS}.{COMMAND}", "django.core." + COMMAND], id="Django's own behind"
        ),
        pytest.param(
            [OURS, STATIC], [f"{OURS}.{COMMAND}", f"{STATIC}.{COMMAND}"], id="another's behind"
        ),
        pytest.param(
            [STATIC, OURS], [f"{STATIC}.{COMMAND}", "django.core." + COMMAND], id="another's first"
        ),
    ],
)
def test_the_command_is_the_next_ones_with_lines(apps: list[str], found: list[str]) -> None:
    """
    Ours takes nothing away: it is the command that would have run, static files and all.
    """
    done = subprocess.run(
        [sys.executable, "-c", BEHIND.format(apps=apps)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == found
