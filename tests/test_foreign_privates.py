"""
The private parts of other packages that we read, each with its reason: a list that is complete,
and a check that each is still there.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

SRC: Final = Path(__file__).parents[1] / "src" / "idlanyard"
ANY: Final = (3, 99)


class Private(NamedTuple):
    """
    A private name of another package.

    Attributes:
        home: the class, object or module that has it, as ``module:name``.
        name: the name itself.
        file: where we read it, below ``src/idlanyard``.
        why: the reason, and the public way that there is not.
        since: the first Python that has it.
        before: the first Python that has it no more.
    """

    home: str
    name: str
    file: str
    why: str
    since: tuple[int, int] = (3, 11)
    before: tuple[int, int] = ANY


PRIVATES: Final = [
    Private(
        "psycopg:Connection",
        "_connect_gen",
        "registry/_postgresql/_connections.py",
        "connect() tries each host with a timeout of its own; ours ends all of them together",
    ),
    Private(
        "psycopg:AsyncConnection",
        "_connect_gen",
        "registry/_postgresql/_connections.py",
        "the same for an event loop",
    ),
    Private(
        "redis.connection:Connection",
        "_sock",
        "registry/_redis/_connections.py",
        "each wait of one command gets the time that is left; socket_timeout is fixed",
    ),
    Private(
        "redis.asyncio.connection:Connection",
        "_writer",
        "registry/_redis/_servers.py",
        "disconnect() needs the event loop, which may be over",
    ),
    Private(
        "redis.asyncio.connection:Connection",
        "_reader",
        "registry/_redis/_servers.py",
        "as _writer: both are set to None, so that the connection counts as closed",
    ),
    Private(
        "asyncio.sslproto:_SSLProtocolTransport",
        "_ssl_protocol",
        "registry/_redis/_servers.py",
        "leads from a TLS transport to the socket's own when their loop is over",
    ),
    Private(
        "asyncio.sslproto:SSLProtocol",
        "_transport",
        "registry/_redis/_servers.py",
        "as _ssl_protocol",
    ),
    Private(
        "asyncio.selector_events:_SelectorTransport",
        "_call_connection_lost",
        "registry/_redis/_servers.py",
        "closes the socket at once; abort() leaves that to a loop that is over",
    ),
    Private(
        "asyncio.coroutines:",
        "_is_coroutine",
        "_binding/functions.py",
        "marks a coroutine function; inspect.markcoroutinefunction is new in 3.12",
        before=(3, 12),
    ),
    Private(
        "threading:Thread",
        "_context",
        "_binding/inheritance.py",
        "the Context that a thread started with, which has no public name",
        since=(3, 14),
    ),
    Private(
        "logging:Formatter",
        "_style",
        "integrations/logging.py",
        "formats a record with further fields, so that the record itself is left alone",
    ),
    Private(
        "logging:Formatter",
        "_fmt",
        "integrations/logging.py",
        "the format, to know its fields; a style of the default format has none to ask",
    ),
    Private(
        "sys:",
        "_getframe",
        "integrations/logging.py",
        "tells Logger.makeRecord from others who ask a record for its attributes",
    ),
    Private(
        "django.http:StreamingHttpResponse",
        "_iterator",
        "integrations/django/_responses.py",
        "streaming_content wraps it in map(), and Django closes nothing below a map()",
    ),
    Private(
        "django.http.response:ResponseHeaders",
        "_store",
        "integrations/django/_responses.py",
        "reads the names in one call, and sets an echo that is checked already; by __setitem__, "
        "which checks name and value again, each header of it takes five times as long",
    ),
    Private(
        "django.http:HttpResponse",
        "_resource_closers",
        "integrations/django/_responses.py",
        "the copy of a response that several requests were given closes what that request opened",
    ),
    Private(
        "django.utils.functional:LazyObject",
        "_wrapped",
        "integrations/django/_users.py",
        "tells a lazy user that nobody has looked for, without looking for it",
    ),
    Private(
        "django.db.models:Model",
        "_meta",
        "integrations/django/_users.py",
        "documented by Django, though it is spelt as private: the field of the primary key",
    ),
    Private(
        "opentelemetry.instrumentation.django.middleware.otel_middleware:",
        "_DjangoMiddleware",
        "integrations/django/_lines.py",
        "the line that the instrumentation writes into MIDDLEWARE",
    ),
    Private(
        "opentelemetry.sdk:",
        "_logs",
        "integrations/opentelemetry/_processors.py",
        "log records of the SDK have no public module yet",
    ),
    Private(
        "opentelemetry:",
        "_logs",
        "integrations/opentelemetry/__init__.py",
        "as above: the global logger provider",
    ),
    Private(
        "structlog.stdlib:ProcessorFormatter",
        "_record",
        "integrations/structlog.py",
        "the record of the standard library that an event was made of: a documented key",
    ),
]
# Not of another package: a name of typeshed, for type checkers alone, and of named tuples.
PUBLIC: Final = {"_typeshed", "_replace", "_make", "_fields", "_asdict"}
HERE: Final = [
    private for private in PRIVATES if private.since <= sys.version_info[:2] < private.before
]


def codes_of(cls: type) -> Iterator[Any]:
    """
    Yield the code of each function of a class and its bases, accessors of properties too.
    """
    for base in cls.__mro__:
        for member in vars(base).values():
            parts = [member, getattr(member, "__func__", None)]
            if isinstance(member, property):
                parts += [member.fget, member.fset]
            if isinstance(member, cached_property):
                parts += [member.func]
            for part in parts:
                if hasattr(part, "__code__"):
                    yield part.__code__


def is_there(private: Private) -> bool:
    """
    Return whether a module or class has the name, or functions of the class use it.
    """
    module, _, name = private.home.partition(":")
    home: Any = importlib.import_module(module)
    if not name:
        return hasattr(home, private.name) or is_module(f"{module}.{private.name}")
    home = getattr(home, name)
    return hasattr(home, private.name) or any(
        private.name in (*code.co_names, *code.co_consts) for code in codes_of(home)
    )


def is_module(name: str) -> bool:
    """
    Return whether a module is found.
    """
    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("private", HERE, ids=lambda private: f"{private.home}.{private.name}")
def test_a_private_name_is_still_there(private: Private) -> None:
    """
    A version of another package that renames what we read fails here, and says why we read it.
    """
    assert is_there(private), private.why


@pytest.mark.parametrize("private", PRIVATES, ids=lambda private: f"{private.home}.{private.name}")
def test_a_private_name_is_still_read(private: Private) -> None:
    """
    A row whose name is read no more goes.
    """
    assert re.search(rf"\b{private.name}\b", SRC.joinpath(private.file).read_text(encoding="utf-8"))


def own_names(trees: dict[str, ast.Module]) -> set[str]:
    """
    Return the private names that the package itself gives to something.
    """
    names: set[str] = set()
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("self", "cls"):
                names.add(node.attr)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            names |= {str(p.value) for p in ast.walk(node.value) if isinstance(p, ast.Constant)}
    return names


def foreign_names(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """
    Yield the private names that a file reads and the package does not give to anything.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield from {node.attr} - own
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("idlanyard"):
            yield from str(node.module).split(".")
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield from {str(name.value)} - own


def test_the_list_is_complete() -> None:
    """
    Every private name that a file reads and the package has not made is in the table.
    """
    trees = {
        path.relative_to(SRC).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in SRC.rglob("*.py")
    }
    own = own_names(trees)
    found = {
        (file, name)
        for file, tree in trees.items()
        for name in foreign_names(tree, own)
        if name.startswith("_") and not name.startswith("__") and name not in PUBLIC
    }
    assert found - {(private.file, private.name) for private in PRIVATES} == set()
