"""
Imports run one way, and the files keep the shape that the design gives them.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "idlanyard"
MAX_LINES = 500

# Each row may import the rows above it, and within a row a file those before it.
LAYERS = {
    "ground": (
        "exceptions",
        "ids",
        "_functions",
        "_events",
        "_forks",
        "_threads",
        "_worker_threads",
        "_inspection",
        "_request",
        "_origins",
        "_networks",
        "_peers",
        "_header_names",
        "_paths",
        "_options",
        "_baggage",
        "_sources",
        "_environment",
    ),
    "core": (
        "_admission",
        "_spec",
        "_defaults",
        "_undeclared",
        "_rules",
        "_policy",
        "_misplaced",
        "_applications",
        "_settings",
        "_snapshot",
        "_wires",
        "_inheriting",
        "_binding",
        "_steps",
        "_known_sessions",
        "_view",
        "_field",
        "_caches",
        "_plan",
        "_forwarding",
        "_trust",
        "_claims",
        "_case",
        "_resolve",
        "_environ",
        "_notices",
        "_echo",
        "_access",
        "_admitted",
        "_change",
        "_logins",
        "_blocks",
        "_carrying",
        "_signature",
        "_arrival",
        "_carrier",
    ),
    "doors": ("context", "testing", "asgi", "wsgi"),
    "front": (
        "__init__",
        "_demo.__init__",
        "_demo.apps",
        "_demo.servers",
        "_demo.asking",
        "_demo.rows",
        "_demo.run",
        "__main__",
    ),
}
# Each stands on all but the front, on what it is named after, and on no other integration.
INTEGRATIONS = "integrations"
PARTS = (
    "_settings",
    "_parameters",
    "_responses",
    "_paths",
    "_requests",
    "_lines",
    "_middleware",
    "_users",
    "_checks",
    "_install",
    "_names",
    "_spans",
    "_records",
    "_exporter",
    "_propagation",
    "_runserver",
    "management",
    "apps",
    "__init__",
)
BESIDE = {("fastapi", "starlette")}
# What every store and every face of the registry stands on; these stand beside each other.
REGISTRY = "registry"
FOUNDATIONS = (
    "_exceptions",
    "_record",
    "_rules",
    "_store",
    "_verbs",
    "_outages",
    "_pools",
    "_loops",
    "_telling",
    "_worker_threads",
    "_opening",
    "_registry",
    "_async_registry",
    "__init__",
    "_http.__init__",
    "_http._faults",
    "_http._fields",
    "_http._grant",
    "_http._idempotency",
    "_http._json_body",
    "_http._replies",
    "_http._session_request",
    "http",
    "_http._environ",
    "_http._conversation",
    "_http._threads",
    "_http._starlette",
    "_http._werkzeug",
)
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
ORDER = tuple(itertools.chain.from_iterable(LAYERS.values()))
# The command line runs it when it is asked for.
COMMAND = ("__main__", "registry._command._run")
STRANGERS = {("asgi", "wsgi"), ("wsgi", "asgi")}
# What a file may import when it is used, beyond what importing it needs.
LATE = {"_worker_threads": {"anyio"}, "testing": {"pytest"}}
# What the demo's files are for; nothing but the command imports them, when it is run.
DEMO = {
    "_demo.servers": {"uvicorn", "waitress"},
    "_demo.asking": {"websockets"},
    "_demo.run": {"rich"},
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


def _source_of(path: list[str]) -> str:
    """
    The file that the longest part of a dotted path names.
    """
    names = (".".join(path[:length]) for length in range(len(path), 0, -1))
    found = (name for name in names if name in SOURCES or f"{name}.__init__" in SOURCES)
    name = next(found, "__init__")
    return name if name in SOURCES else f"{name}.__init__"


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _top_level(tree: ast.Module) -> ast.Module:
    """
    The module without the bodies of its functions.
    """
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return ast.Module([node for node in tree.body if not isinstance(node, functions)], [])


def _verdict(importer: str, imported: str) -> str | None:
    """
    What is wrong with *importer* importing *imported*, if anything.
    """
    if importer.startswith(INTEGRATIONS):
        return _integration_verdict(importer, imported)
    if importer.startswith(REGISTRY):
        return _registry_verdict(importer, imported)
    if (importer, imported) == COMMAND:
        return None
    for name in (importer, imported):
        if name not in ORDER:
            return f"{importer} imports {imported}, and {name} stands in no row of LAYERS"
    if (importer, imported) in STRANGERS:
        return f"{importer} imports {imported}: they never import each other"
    if ORDER.index(imported) >= ORDER.index(importer):
        return f"{importer} imports {imported}, which stands below it in LAYERS"
    return None


def _integration_verdict(importer: str, imported: str) -> str | None:
    """
    What is wrong with an integration importing *imported*, if anything.
    """
    if imported in LAYERS["front"]:
        return f"{importer} imports {imported}: an integration stands on no part of the front"
    if not imported.startswith(INTEGRATIONS):
        return None
    own, other = _integration(importer), _integration(imported)
    if own != other and (own, other) not in BESIDE and other != "__init__":
        return f"{importer} imports {imported}: integrations never import each other"
    if own == other and PARTS.index(imported.split(".")[2]) >= PARTS.index(importer.split(".")[2]):
        return f"{importer} imports {imported}, which stands below it in PARTS"
    return None


def _registry_verdict(importer: str, imported: str) -> str | None:
    """
    What is wrong with a file of the registry importing *imported*, if anything.
    """
    if imported in LAYERS["front"] or imported.startswith(INTEGRATIONS):
        return f"{importer} imports {imported}: the registry stands on the core only"
    if not imported.startswith(REGISTRY):
        return None
    own, other = _part(importer), _part(imported)
    if other not in FOUNDATIONS:
        return None if own == other else f"{importer} imports {imported}: they stand side by side"
    if own in FOUNDATIONS and FOUNDATIONS.index(other) >= FOUNDATIONS.index(own):
        return f"{importer} imports {imported}, which stands below it in FOUNDATIONS"
    return None


def _part(name: str) -> str:
    """
    Return the store or face that a file is of; a foundation is of itself.
    """
    inside = name.removeprefix(f"{REGISTRY}.")
    return inside if inside in FOUNDATIONS else inside.split(".")[0]


def _integration(name: str) -> str:
    return name.split(".")[1]


PLACED = [name for name in SOURCES if not name.startswith((INTEGRATIONS, REGISTRY))]


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PLACED])
def test_every_file_has_its_place(name: str) -> None:
    """A file of the package stands in one row of the layers (design, section 5)."""
    assert ORDER.count(name) == 1, (
        f"src/idlanyard/{name}.py has no place in LAYERS: say in tests/test_layers.py "
        "which row it belongs to and what it stands on"
    )


def test_every_place_has_its_file() -> None:
    """A row of the layers names only files that exist (design, section 5)."""
    assert sorted(ORDER) == sorted(PLACED)


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SOURCES])
def test_imports_run_one_way(name: str) -> None:
    """A file imports from the package only what stands above it (design, section 5)."""
    paths = [module.split(".") for module in _imports(_parsed(SOURCES[name]), name)]
    own = [_source_of(path[1:]) for path in paths if path[0] == "idlanyard"]
    assert [verdict for one in own if (verdict := _verdict(name, one))] == []


def _own_third_parties(name: str) -> set[str]:
    if name.startswith(REGISTRY):
        return DRIVERS.get(_part(name), set())
    if not name.startswith(INTEGRATIONS):
        return DEMO.get(name, set())
    own = _integration(name)
    return {own} | COMPANIONS.get(own, set())


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SOURCES])
def test_nothing_else_is_needed(name: str) -> None:
    """A file imports the standard library, the package and what it is named after (section 4)."""
    tree = _parsed(SOURCES[name])
    allowed = _own_third_parties(name)
    at_import = _third_parties(_top_level(tree), name) - allowed
    late = _third_parties(tree, name) - LATE.get(name, set()) - allowed
    assert (at_import, late) == (set(), set())


@pytest.mark.parametrize(
    ("importer", "imported", "complaint"),
    [
        pytest.param("asgi", "_resolve", None, id="down"),
        pytest.param("_resolve", "asgi", "below it", id="up"),
        pytest.param("_plan", "_plan", "below it", id="itself"),
        pytest.param("wsgi", "asgi", "never", id="wsgi-asgi"),
        pytest.param("asgi", "wsgi", "never", id="asgi-wsgi"),
        pytest.param("context", "__init__", "below it", id="front"),
        pytest.param("asgi", "_utils", "no row", id="unknown"),
        pytest.param("asgi", "integrations.flask", "no row", id="core-integration"),
        pytest.param("integrations.flask", "wsgi", None, id="integration-door"),
        pytest.param("integrations.fastapi", "integrations.starlette", None, id="beside"),
        pytest.param("integrations.flask", "integrations.starlette", "each other", id="siblings"),
        pytest.param("integrations.flask", "__main__", "front", id="integration-front"),
        pytest.param("registry._redis", "registry._record", None, id="store-foundation"),
        pytest.param("registry._redis", "registry._sqlite", "side by side", id="stores"),
        pytest.param("registry.asgi", "registry.wsgi", "side by side", id="faces"),
        pytest.param("registry._record", "registry._verbs", "FOUNDATIONS", id="foundations-up"),
        pytest.param("registry._registry", "registry._redis", "side by side", id="registry-store"),
        pytest.param("registry.asgi", "integrations.starlette", "core only", id="face-integration"),
        pytest.param("__main__", "registry._command._run", None, id="command"),
        pytest.param("__main__", "registry._redis", "no row", id="command-store"),
        pytest.param("registry._command._run", "registry._redis", "side by side", id="its-store"),
        pytest.param("registry._verbs", "__init__", "core only", id="registry-front"),
        pytest.param(
            "integrations.django.apps", "integrations.django._checks", None, id="parts-down"
        ),
        pytest.param(
            "integrations.django._settings", "integrations.django.apps", "PARTS", id="parts-up"
        ),
    ],
)
def test_the_rule_itself(importer: str, imported: str, complaint: str | None) -> None:
    """The layering rule tells a wrong import from a right one (design, section 5)."""
    verdict = _verdict(importer, imported)
    assert verdict is None if complaint is None else complaint in (verdict or "")


# A table of cases may be long: it holds one idea all the same.
SHORT_FILES = [name for name in PYTHON_FILES if not name.startswith("tests/")]


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SHORT_FILES])
def test_files_stay_short(name: str) -> None:
    """No file outside the tests has more than 500 lines."""
    assert len(PYTHON_FILES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PYTHON_FILES])
def test_names_say_what_is_inside(name: str) -> None:
    """No file is named after its being of use (house rule on names)."""
    words = set(re.split(r"[^a-z]+", PYTHON_FILES[name].stem.lower()))
    assert words & FORBIDDEN_WORDS == set()


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SOURCES])
def test_no_line_is_excused_from_coverage(name: str) -> None:
    """No comment in the package excuses a line from being tested (issue 2, item 1)."""
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
    """No test mocks or patches anything; environment variables may be set (style, rule 22)."""
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
