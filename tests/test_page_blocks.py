"""
Every fenced block of the pages is run or compared by a test, which is named here.
"""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from itertools import pairwise

import pytest
from packaging.requirements import Requirement

from page_blocks import PAGES, ROOT, Block, find_blocks, find_installs

BLOCKS = [block for page in PAGES for block in find_blocks(page)]
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PROJECT["dependency-groups"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
PRINTED = "what a block of Python prints"
INSTALLS = "nothing but pip"
# Pages, a language, how the text begins, and the file that runs it; the first row that fits counts.
# Where a file runs all blocks of a language on its page, the text may begin as it likes.
ROWS = [
    ("docs/tutorial_*.md", "*", "", "tests/servers/test_tutorials.py"),
    ("docs/*.md", "python", "", "tests/test_docs.py"),
    ("docs/*.md", "text", PRINTED, "tests/test_docs.py"),
    ("*.md", "bash", INSTALLS, "tests/release/resolve_pages.py"),
    ("README.md", "python", "", "tests/test_readme.py"),
    ("README.md", "text", "", "tests/test_readme.py"),
    ("README.md", "bash", "python3 -m venv .venv && ", ".ci/run"),
    ("CONTRIBUTING.md", "bash", "python3 -m venv .venv && ", "tests/test_page_blocks.py"),
    ("CONTRIBUTING.md", "bash", "uv pip compile ", "tests/release/resolve_pages.py"),
    ("CONTRIBUTING.md", "", "redis: ", "nobody: a message of a commit"),
    ("MIGRATION.md", "python", "", "tests/test_migration.py"),
    ("docs/assertions.md", "text", "idlanyard: the ", "tests/assertions/test_key_source.py"),
    ("docs/assertions.md", "text", "idlanyard: a ", "tests/assertions/test_assertion.py"),
    ("docs/*.md", "bash", "curl -i -H 'X-Session-ID: s1' ", "tests/test_examples.py"),
    ("docs/certificates.md", "apache", "SSL", "tests/servers/test_certificates_page.py"),
    ("docs/certificates.md", "nginx", "ssl_", "tests/servers/test_certificates_page.py"),
    ("docs/certificates.md", "yaml", "forward_", "tests/attacks/test_envoy.py"),
    ("docs/doctor.md", "console", "", "tests/doctor/test_page.py"),
    ("docs/logging.md", "json", "{", "tests/integrations/test_logging_servers.py"),
    ("docs/performance.md", "json", "{", "tests/test_benchmarks_real_requests.py"),
    ("docs/performance.md", "bash", "python -m venv ", "tests/test_benchmarks_real_requests.py"),
    ("docs/performance.md", "bash", "tox run -e inst", "tests/test_benchmarks_instructions.py"),
    ("docs/performance.md", "text", "ASGI, session", "tests/test_benchmarks_instructions.py"),
    ("docs/performance.md", "bash", "python3.11 ", "tests/test_benchmarks.py"),
    ("docs/proxies.md", "bash", "python -c ", "tests/test_page_blocks.py"),
    ("docs/proxies.md", "bash", "export ", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "bash", "curl --interface ", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "text", "nginx:   ", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "nginx", "server {", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "nginx", "proxy_set_", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "caddyfile", "http://:80 {", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "haproxy", "userlist people", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "yaml", "static_resources:", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "yaml", "# traefik.yaml", "tests/servers/test_proxies_page.py"),
    ("docs/proxies.md", "yaml", "# service.yaml", "tests/servers/test_proxies_page.py"),
    ("docs/registry_command.md", "console", "", "tests/registry/test_command_page.py"),
    ("docs/registry_command.md", "text", "python -m", "tests/registry/test_command_page.py"),
    ("docs/registry_command.md", "text", "17 3 ", "tests/registry/test_command_page.py"),
    ("docs/registry_command.md", "ini", "# /etc/", "tests/registry/test_command_page.py"),
    ("docs/registry_command.md", "bash", "sudo ", "tests/registry/test_command_page.py"),
    ("docs/registry_command.md", "bash", "export OLD", "tests/registry/test_command_page.py"),
    ("docs/registry_command.md", "bash", "python -m", "tests/registry/test_command_page.py"),
    ("docs/registry_http.md", "bash", "KEY=", "tests/registry/test_http_page.py"),
    ("docs/registry_http.md", "javascript", "async ", "tests/registry/test_http_page.py"),
    ("docs/registry_machines.md", "sql", "ALTER ", "tests/registry/test_postgresql_operated.py"),
    ("docs/registry_machines.md", "text", "ACL ", "tests/registry/test_redis_settings.py"),
    ("docs/registry_metrics.md", "text", "# The store ", "tests/registry/test_metrics_page.py"),
    ("docs/rq.md", "bash", "rq worker ", "tests/integrations/jobs/test_rq.py"),
    ("docs/session_cookie.md", "", "Set-Cookie: ", "tests/test_session_cookie_responses.py"),
    ("docs/signing.md", "bash", "python -c ", "tests/test_page_blocks.py"),
    ("docs/tour.md", "bash", "pip install ", "tests/tour/test_tour.py"),
    ("docs/tour.md", "text", "Starting ", "tests/tour/test_tour.py"),
]


def fits(block: Block, row: tuple[str, str, str, str]) -> bool:
    """
    Return whether a row is about a block.
    """
    page, language, beginning, _ = row
    if not fnmatch(block.page, page) or not fnmatch(block.language, language):
        return False
    if beginning == PRINTED:
        return block.follows
    if beginning == INSTALLS:
        return all(line.startswith("pip install ") for line in block.text.splitlines())
    return block.text.startswith(beginning)


def test_every_block_is_run() -> None:
    """
    Each block of each page has a row, and no row is left over.
    """
    rows = [next((row for row in ROWS if fits(block, row)), None) for block in BLOCKS]
    named = zip(BLOCKS, rows, strict=True)
    assert [f"{block.page}:{block.line}" for block, row in named if row is None] == []
    assert [row for row in ROWS if row not in rows] == []


def test_the_files_that_run_blocks_are_there() -> None:
    """
    Each file that a row names is there.
    """
    files = {row[-1] for row in ROWS if not row[-1].startswith("nobody: ")}
    assert [file for file in sorted(files) if not ROOT.joinpath(file).is_file()] == []


def test_no_fence_is_left_over() -> None:
    """
    The fences of a page are those of its blocks.
    """
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(find_blocks(page)), page


@pytest.mark.parametrize(
    "line", [block.text for block in BLOCKS if block.text.startswith("python -c ")]
)
def test_a_secret_that_a_page_makes_is_long_enough(line: str) -> None:
    """
    The line prints a secret of at least 32 characters.
    """
    done = subprocess.run(
        ["bash", "-c", f'python() {{ "{sys.executable}" "$@"; }}\n{line}'],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(done.stdout.strip()) >= 32


# What a page installs beside the package is installed for the tests, or installs them.
CONSTRAINTS = ROOT.joinpath("constraints.txt").read_text(encoding="utf-8")
TESTED = {*re.findall(r"^([\w.-]+)==", CONSTRAINTS, re.MULTILINE), "pip", "tox", "tox-uv"}


@pytest.mark.parametrize("line", find_installs())
def test_what_a_page_installs_is_known(line: str) -> None:
    """
    A line of pip names this package, with extras and groups that it has, and packages that are
    tested; ``tox run -e release`` asks the index whether they fit together.
    """
    words = iter(find_installs()[line])
    for word in words:
        if word == "--group":
            assert next(words) in GROUPS
        elif word.startswith((".", "~/idlanyard")):
            extras = re.fullmatch(r"(?:\.|~/idlanyard)(?:\[([\w,-]+)\])?", word)
            assert extras
            assert set(filter(None, (extras[1] or "").split(","))) <= EXTRAS.keys()
        elif word not in ("-q", "-U"):
            assert Requirement(word).name in TESTED


def test_every_environment_that_a_page_runs_exists() -> None:
    """
    What follows ``tox ... -e`` is an environment of tox.ini, and the groups of the line that
    writes constraints.txt are all groups but the release's.
    """
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    listed = tox["tox"]["env_list"].replace("{12,13,14,15}", "13").split()
    known = {*listed, *(section.partition(":")[2] for section in tox.sections())}
    texts = [block.text for block in BLOCKS if block.language == "bash"]
    named = re.findall(r"\btox (?:run|devenv) -e (\S+)", "\n".join(texts))
    assert named
    assert {name for names in named for name in names.split(",")} <= known
    (line,) = [text for text in texts if text.startswith("uv pip compile ")]
    words = shlex.split(line.replace("\\\n", " "))
    groups = {after for word, after in pairwise(words) if word == "--group"}
    assert groups == GROUPS.keys() - {"release"}
