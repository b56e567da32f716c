"""
The public names are a list, and each of them is explained.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator

import pytest

import idlanyard

PUBLIC = {
    "idlanyard": (
        "Admission",
        "Baggage",
        "ContextThreadPoolExecutor",
        "Cookie",
        "EVERYONE",
        "Header",
        "IDLanyardError",
        "IDSpec",
        "MissingID",
        "PathPrefix",
        "Policy",
        "PolicyError",
        "Provenance",
        "Query",
        "SessionContext",
        "Subdomain",
        "UNSET",
        "UntrustedID",
        "bind",
        "carry",
        "clear_session_context",
        "clear_session_id",
        "dump",
        "effective_session_id",
        "extract",
        "get_id",
        "get_session_context",
        "get_session_id",
        "get_tenant_id",
        "get_user_id",
        "identify",
        "inject",
        "new_session_id",
        "prepare_request_headers",
        "process_session_id",
        "request_spec",
        "require",
        "restore",
        "rotate_session_id",
        "scoped_iter",
        "session_context",
        "session_spec",
        "set_session_context",
        "set_session_id",
        "subscribe",
        "tenant_spec",
        "use_policy",
        "user_spec",
        "without",
    ),
    "idlanyard.asgi": ("SessionContextMiddleware",),
    "idlanyard.context": ("bind", "clear", "get", "set"),
    "idlanyard.ids": ("safe_filename", "timestamped", "token", "uuid4", "uuid7"),
    "idlanyard.testing": ("client_headers", "override"),
    "idlanyard.wsgi": ("SessionContextMiddleware",),
}
# What a module may show besides: names that are documented elsewhere.
BESIDES = {
    "idlanyard.ids": {"IDCheck", "Provenance"},
    "idlanyard.testing": {"raise_failures", "session_ids"},
}

NAMES = [
    pytest.param(module, name, id=f"{module}.{name}")
    for module, names in PUBLIC.items()
    for name in names
]


def _rank(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[0].isupper(), name


def _members(cls: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(cls).items():
        if not name.startswith("_") and isinstance(
            member, types.FunctionType | property | classmethod | staticmethod
        ):
            yield name, member


@pytest.mark.parametrize("module", [pytest.param(module, id=module) for module in PUBLIC])
def test_public_names_are_a_list(module: str) -> None:
    """A module shows the names that the design lists, and no other."""
    shown = set(vars(importlib.import_module(module))["__all__"])
    assert shown - BESIDES.get(module, set()) == set(PUBLIC[module])


@pytest.mark.parametrize("module", [pytest.param(module, id=module) for module in PUBLIC])
def test_public_names_are_sorted(module: str) -> None:
    """Constants, classes and functions stand in `__all__` in order, none twice."""
    shown = vars(importlib.import_module(module))["__all__"]
    assert list(shown) == sorted(set(shown), key=_rank)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_names_are_explained(module: str, name: str) -> None:
    """Every public name and every public method of it has a docstring."""
    value = getattr(importlib.import_module(module), name)
    explained = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    parts = list(_members(explained)) if inspect.isclass(explained) else []
    silent = [part for part, member in parts if not inspect.getdoc(member)]
    assert (bool(inspect.getdoc(explained)), silent) == (True, [])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_names_are_not_borrowed(module: str, name: str) -> None:
    """Every public name is the package's own."""
    value = getattr(importlib.import_module(module), name)
    home = getattr(value, "__module__", type(value).__module__)
    assert home.partition(".")[0] == "idlanyard"


def test_star_import_brings_the_list() -> None:
    """Names that are loaded late are found like the others."""
    namespace: dict[str, object] = {}
    exec("from idlanyard import *", namespace)
    assert set(idlanyard.__all__) <= namespace.keys()


def test_unknown_names_are_attribute_errors() -> None:
    """A name that does not exist is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(idlanyard, "no_such_name")  # noqa: B009
