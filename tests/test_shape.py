"""
The files keep their shape: third parties, length, names, nothing patched. The layers are in
pyproject.toml, under ``tool.importlinter``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "idlanyard"
MAX_LINES = 500

INTEGRATIONS = "integrations"
REGISTRY = "registry"
DRIVERS = {
    "_command": {"rich"},
    "_http._starlette": {"starlette"},
    "_http._threads": {"anyio"},
    "_http._werkzeug": {"werkzeug"},
    "_postgresql": {"psycopg", "sqlalchemy"},
    "_redis": {"redis"},
    "asgi": {"starlette"},
    "django": {"asgiref", "django"},
    "fastapi": {"fastapi", "pydantic", "starlette"},
    "flask": {"flask", "werkzeug"},
    "wsgi": {"werkzeug"},
}
COMPANIONS = {"django": {"asgiref"}, "flask": {"werkzeug"}, "sentry": {"sentry_sdk"}}
# What a file may import when it is used, beyond what importing it needs.
LATE = {
    "_decision.worker_threads": {"anyio"},
    "signing._signatures": {"itsdangerous"},
    "testing": {"pytest"},
}
# What the files of the commands are for; nothing else imports them.
COMMANDS = {
    "_doctor._table": {"rich"},
    "_demo.servers": {"uvicorn", "waitress"},
    "_demo.asking": {"websockets"},
    "_demo.run": {"rich"},
    "_demo.tour.billing": {"django"},
    "_demo.tour.folder_queue": {"kombu"},
    "_demo.tour.gateway": {"fastapi", "httpx2"},
    "_demo.tour.jobs": {"celery"},
    "_demo.tour.page": {"starlette"},
    "_demo.tour.reporting": {"opentelemetry"},
    "_demo.tour.shop": {"flask"},
    "_demo.tour.tracing": {"opentelemetry"},
}

ASSERTIONS = {
    "signing._assertions.keys": {"cryptography", "jwt"},
    "signing._assertions.verifier": {"jwt"},
}

FORBIDDEN_WORDS = {"common", "helper", "helpers", "manager", "managers", "util", "utils"}
PATCHING = {"setattr", "setitem", "delattr"}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts)


SOURCES = {_name(path): path for path in sorted(SRC.rglob("*.py"))}
TESTS = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "tests").rglob("*.py"))}
PYTHON_FILES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("src", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def _only_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not _only_for_types(node):
            yield node
            yield from _run_time_nodes(node)


def _imports(tree: ast.AST, name: str = "") -> Iterator[str]:
    """
    The dotted modules that run-time code in *tree* imports.
    """
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write 'from idlanyard...', not a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _third_parties(tree: ast.AST, name: str) -> set[str]:
    tops = {module.split(".")[0] for module in _imports(tree, name)}
    return tops - set(sys.stdlib_module_names) - {"idlanyard"}


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _top_level(tree: ast.Module) -> ast.Module:
    """
    The module without the bodies of its functions.
    """
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return ast.Module([node for node in tree.body if not isinstance(node, functions)], [])


def _part(name: str) -> str:
    """
    Return the store or face of the registry that a file belongs to.
    """
    inside = name.removeprefix(f"{REGISTRY}.")
    return inside if inside in DRIVERS else inside.split(".")[0]


def _own_third_parties(name: str) -> set[str]:
    if name.startswith(REGISTRY):
        return DRIVERS.get(_part(name), set())
    if not name.startswith(INTEGRATIONS):
        return (COMMANDS | ASSERTIONS).get(name, set())
    own = name.split(".")[1]
    return {own} | COMPANIONS.get(own, set())


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SOURCES])
def test_nothing_else_is_needed(name: str) -> None:
    """A file imports the standard library, the package and what it is named after (section 4)."""
    tree = _parsed(SOURCES[name])
    allowed = _own_third_parties(name)
    at_import = _third_parties(_top_level(tree), name) - allowed
    late = _third_parties(tree, name) - LATE.get(name, set()) - allowed
    assert (at_import, late) == (set(), set())


# A table of cases may be long: it holds one idea all the same.
SHORT_FILES = [name for name in PYTHON_FILES if not name.startswith("tests/")]


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SHORT_FILES])
def test_files_stay_short(name: str) -> None:
    """No file outside the tests has more than 500 lines."""
    assert len(PYTHON_FILES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PYTHON_FILES])
def test_names_say_what_is_inside(name: str) -> None:
    """No file is named after its being of use."""
    words = set(re.split(r"[^a-z]+", PYTHON_FILES[name].stem.lower()))
    assert words & FORBIDDEN_WORDS == set()


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SOURCES])
def test_no_line_is_excused_from_coverage(name: str) -> None:
    """No comment in the package excuses a line from being tested."""
    text = SOURCES[name].read_text(encoding="utf-8")
    assert re.findall(r"#.*\b(?:pragma|no\s*cover|no\s*branch).*", text) == []


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SOURCES])
def test_foreign_modules_are_never_patched(name: str) -> None:
    """The package assigns no attribute of a module that it imported (R11)."""
    tree = _parsed(SOURCES[name])
    modules = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    stored = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and isinstance(node.value, ast.Name)
    }
    assert stored & modules == set()


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in TESTS])
def test_tests_use_real_parts(name: str) -> None:
    """No test mocks or patches anything; environment variables may be set."""
    tree = _parsed(TESTS[name])
    mocks = {module for module in _imports(tree) if "mock" in module.split(".")}
    patches = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"monkeypatch", "mocker", "mock"}
        and (node.attr in PATCHING or node.value.id != "monkeypatch")
    }
    assert mocks | patches == set()
