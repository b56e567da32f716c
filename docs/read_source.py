"""
The public names of the package, read from its source without importing it.

No framework or store needs to be installed for that.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """
    A statement that defines a name, and the text that explains it.
    """

    name: str
    path: Path
    node: ast.stmt
    text: str
    overloads: tuple[Function, ...] = ()

    @property
    def place(self) -> str:
        """
        The file and line of the definition.
        """
        return f"{self.path.relative_to(ROOT).as_posix()}, line {self.node.lineno}"


@functools.cache
def parse_module(path: Path) -> ast.Module:
    """
    Return the syntax tree of a file.
    """
    return ast.parse(path.read_text(encoding="utf-8"))


def find_file(module: str) -> Path | None:
    """
    Return the file of a module of the package, or ``None`` for one of another package.
    """
    home = SOURCE.joinpath(*module.split("."))
    for path in (home.with_suffix(".py"), home / "__init__.py"):
        if path.exists():
            return path
    return None


def list_modules() -> list[str]:
    """
    Return the public modules: those without an underscore in their path that have ``__all__``.
    """
    paths = (path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
    names = (".".join(path.parts).removesuffix(".__init__") for path in paths)
    return sorted(name for name in names if "._" not in name and list_names(name))


def list_names(module: str) -> list[str]:
    """
    Return ``__all__`` of a module.
    """
    path = find_file(module)
    for node in [] if path is None else parse_module(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def explain_module(module: str) -> str:
    """
    Return the docstring of a module.
    """
    path = find_file(module)
    return "" if path is None else ast.get_docstring(parse_module(path)) or ""


def find_definition(module: str, name: str) -> Definition | None:
    """
    Return the definition of a name that a module defines or imports from the package.
    """
    path = find_file(module)
    if path is None:
        return None
    statements = list(walk_statements(parse_module(path).body))
    found = [pair for pair in statements if name in names_of(pair[0])]
    for node, _ in reversed(found):
        if isinstance(node, ast.ImportFrom):
            alias = next(one for one in node.names if (one.asname or one.name) == name)
            return find_definition(node.module or "", alias.name)
    defined = [(node, text) for node, text in found if not isinstance(node, ast.ImportFrom)]
    late = find_late_definition(path, name)
    if late is not None and not (defined and defined[-1][1]):
        return late
    if not defined:
        return None
    node, text = defined[-1]
    overloads = [one for one, _ in defined[:-1] if isinstance(one, Function)]
    return Definition(name, path, node, text, tuple(overloads))


def find_late_definition(path: Path, name: str) -> Definition | None:
    """
    Return the definition of a name that a module makes inside one of its functions.
    """
    for outer in parse_module(path).body:
        for node in ast.walk(outer) if isinstance(outer, Function) else ():
            if isinstance(node, Function) and node.name == name:
                return Definition(name, path, node, ast.get_docstring(node) or "")
    return None


def walk_statements(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """
    Yield each statement of a module or class with its docstring; that of an assignment follows it.
    """
    for index, node in enumerate(body):
        if isinstance(node, ast.If):
            yield from walk_statements(node.body)
        elif isinstance(node, Function | ast.ClassDef):
            yield node, ast.get_docstring(node) or ""
        else:
            after = body[index + 1] if index + 1 < len(body) else None
            yield node, read_text(after)


def read_text(node: ast.stmt | None) -> str:
    """
    Return the text of a statement that is nothing but a string.
    """
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        text = node.value.value
        if isinstance(text, str):
            return "\n".join(line.strip() for line in text.strip().splitlines())
    return ""


def names_of(node: ast.stmt) -> list[str]:
    """
    Return the names that a statement defines or imports.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case _:
            return []


def list_bases(definition: Definition) -> Iterator[Definition]:
    """
    Yield the class and those of its bases that the package defines, nearest first.
    """
    yield definition
    home = definition.path.relative_to(SOURCE).with_suffix("")
    module = ".".join(home.parts).removesuffix(".__init__")
    bases = definition.node.bases if isinstance(definition.node, ast.ClassDef) else []
    for base in bases:
        written = base.value if isinstance(base, ast.Subscript) else base
        found = find_definition(module, ast.unparse(written))
        if found is not None:
            yield from list_bases(found)
