"""
What docs/registry_command.md shows is what its commands print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from idlanyard.registry._command._parser import COMMANDS
from idlanyard.registry._record import Kept
from ports import free_port
from registry.commanding import put_into

PAGE = Path(__file__).parents[2].joinpath("docs", "registry_command.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
DAY = 86_400_000_000
SESSIONS = [
    Kept("chat-1", "crm", '{"platform":"web"}', None, 1_769_860_800_000_001, None),
    Kept("chat-2", "crm", "{}", DAY, 1_769_938_200_250_000, 3_947_391_000_250_000),
    Kept("alone", None, "{}", DAY, 1_769_990_400_000_000, 3_944_764_800_000_000),
]


def test_the_page_prints_what_the_command_prints(tmp_path: Path) -> None:
    """
    Each command of the page, run one after the other in one shell, prints what stands below it.
    """
    put_into(f"sqlite:///{tmp_path}/sessions.db", SESSIONS)
    shown = "".join(BLOCK.findall(PAGE))
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    script = [f'python() {{ "{sys.executable}" "$@"; }}']
    for command in commands:
        script += [f"cat <<'EOF'\n$ {command}\nEOF", command]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == shown


def test_every_command_is_on_the_page() -> None:
    """
    The page shows each command being run.
    """
    run = set(re.findall(r"^\$ python -m idlanyard registry (\w+)", PAGE, re.MULTILINE))
    assert run == set(COMMANDS)


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        pytest.param("sqlite:///sessions.db", 0, "", id="fine"),
        pytest.param("sqlite:///garbage.db", 1, "misconfigured\n", id="misconfigured"),
        pytest.param("redis://127.0.0.1:{port}/0", 1, "", id="unavailable"),
    ],
)
def test_the_health_recipe(tmp_path: Path, url: str, status: int, said: str) -> None:
    """
    The lines for an orchestrator tell a store that is fine, one that is away and one that is wrong.
    """
    put_into(f"sqlite:///{tmp_path}/sessions.db", SESSIONS)
    tmp_path.joinpath("garbage.db").write_text("no database, but some text " * 10)
    found = re.search(r"```bash\n(python -m idlanyard registry check .*?)```", PAGE, re.DOTALL)
    assert found
    done = subprocess.run(
        ["bash", "-c", f'python() {{ "{sys.executable}" "$@" > /dev/null; }}\n{found[1]}'],
        cwd=tmp_path,
        env={**os.environ, "IDLANYARD_REGISTRY_URL": url.format(port=free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, said)
