"""
The public names are a list, and each of them is explained.
"""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import idlanyard
from idlanyard import Policy, SessionContext, session_spec

PUBLIC = {
    "idlanyard": (
        "Admission",
        "Baggage",
        "ContextThreadPoolExecutor",
        "Cookie",
        "Environ",
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
        "Scope",
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
        "forget_session_id",
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
        "session_key",
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
    "idlanyard.certificates": ("forwarded_certificate", "subject_field"),
    "idlanyard.context": ("bind", "clear", "get", "set"),
    "idlanyard.exceptions": ("IDLanyardError", "MissingID", "PolicyError", "UntrustedID"),
    "idlanyard.ids": ("safe_filename", "timestamped", "token", "uuid4", "uuid7"),
    "idlanyard.integrations": (),
    "idlanyard.integrations.aiohttp": ("propagate",),
    "idlanyard.integrations.celery": ("install",),
    "idlanyard.integrations.custom": (
        "bind_job",
        "current_request",
        "is_bound",
        "report_failure",
        "show_current_ids",
    ),
    "idlanyard.integrations.django": (
        "IdentifyUserMiddleware",
        "SessionContextMiddleware",
        "identified",
        "policy_from_settings",
    ),
    "idlanyard.integrations.django_tasks": ("CarryingBackendMixin",),
    "idlanyard.integrations.dramatiq": ("IDLanyardMiddleware",),
    "idlanyard.integrations.fastapi": (
        "CurrentContext",
        "RequiredSessionID",
        "RequiredTenantID",
        "RequiredUserID",
        "SessionID",
        "TenantID",
        "UserID",
        "identified",
        "install",
    ),
    "idlanyard.integrations.flask": ("IDLanyard", "current_context"),
    "idlanyard.integrations.httpx": ("install",),
    "idlanyard.integrations.logging": (
        "SessionContextFilter",
        "SessionContextFormatter",
        "install",
    ),
    "idlanyard.integrations.loguru": ("patcher",),
    "idlanyard.integrations.opentelemetry": (
        "SessionContextLogRecordProcessor",
        "SessionContextSpanProcessor",
        "SessionFileSpanExporter",
        "install",
    ),
    "idlanyard.integrations.requests": ("install",),
    "idlanyard.integrations.rq": ("IDLanyardJob",),
    "idlanyard.integrations.sentry": ("event_processor", "install", "log_processor"),
    "idlanyard.integrations.starlette": ("install",),
    "idlanyard.integrations.structlog": ("add_session_context",),
    "idlanyard.integrations.taskiq": ("IDLanyardMiddleware",),
    "idlanyard.registry": (
        "AsyncSessionRegistry",
        "IdempotencyMismatch",
        "MissingExtra",
        "RegistryMisconfigured",
        "RegistryUnavailable",
        "SessionExists",
        "SessionNotFound",
        "SessionRecord",
        "SessionRegistry",
        "strict",
    ),
    "idlanyard.registry.asgi": ("asgi_app",),
    "idlanyard.registry.django": ("urlpatterns",),
    "idlanyard.registry.fastapi": ("sessions_router",),
    "idlanyard.registry.flask": ("sessions_blueprint",),
    "idlanyard.registry.http": (
        "Action",
        "Authorize",
        "Call",
        "Grant",
        "OnInput",
        "Reply",
        "SessionRequest",
        "SessionsHandler",
    ),
    "idlanyard.registry.wsgi": ("SessionsApp", "wsgi_app"),
    "idlanyard.signing": ("Assertion", "SignedHeader", "Signer"),
    "idlanyard.testing": ("client_headers", "override", "raise_failures", "session_ids"),
    "idlanyard.wsgi": ("SessionContextMiddleware",),
}
# Django loads these modules by their path, and nobody imports them.
OF_DJANGO = ("idlanyard.integrations.django.apps", "idlanyard.integrations.django.management")

ATTRIBUTES = {
    "Policy": (
        Policy(),
        (
            "admission assume_unix enabled exclude explain expose extra from_env hash_keys "
            "mark_private queue_keys session shared_secret tenant trusted_peers trusted_queue "
            "unsafe_server_ok user"
        ),
    ),
    "IDSpec": (
        session_spec(),
        (
            "accept attribute baggage charset cookie echo forward header job log max_length mint "
            "must_match name on_invalid propagate required signed sources span"
        ),
    ),
    "SessionContext": (
        SessionContext(),
        "as_attributes as_dict customer_id get is_empty provenance session_id tenant_id user_id",
    ),
}

# Python keeps neither a docstring nor a module for a type alias or a proxy.
ALIASES = (
    "Action Authorize CurrentContext OnInput RequiredSessionID RequiredTenantID RequiredUserID "
    "SessionID TenantID UserID current_context"
).split()
NAMES = [
    pytest.param(module, name, id=f"{module}.{name}")
    for module, names in PUBLIC.items()
    for name in names
    if name not in ALIASES
]


def _public_modules() -> set[str]:
    """
    Return the name of every module that has no underscore in its path.
    """
    home = Path(idlanyard.__file__).parent
    paths = (path.relative_to(home.parent).with_suffix("") for path in home.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return {name for name in names if "._" not in name and not name.startswith(OF_DJANGO)}


def _rank(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[0].isupper(), name


def _members(cls: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(cls).items():
        if not name.startswith("_") and isinstance(
            member, types.FunctionType | property | classmethod | staticmethod
        ):
            yield name, member


def test_public_modules_are_a_list() -> None:
    """Every module without an underscore is listed here, and is there."""
    assert _public_modules() == set(PUBLIC)


@pytest.mark.parametrize("module", [pytest.param(module, id=module) for module in PUBLIC])
def test_public_names_are_a_list(module: str) -> None:
    """The `__all__` of a module has the names that are listed here, and no other."""
    assert set(vars(importlib.import_module(module))["__all__"]) == set(PUBLIC[module])


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_public_attributes_are_a_list(name: str) -> None:
    """A policy, the rules of an ID and a snapshot have the attributes listed here, and no other."""
    value, listed = ATTRIBUTES[name]
    assert [each for each in dir(value) if not each.startswith("_")] == listed.split()


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
    home = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    assert home.__module__.partition(".")[0] == "idlanyard"


def test_star_import_brings_the_list() -> None:
    """Names that are loaded late are found like the others."""
    namespace: dict[str, object] = {}
    exec("from idlanyard import *", namespace)
    assert set(idlanyard.__all__) <= namespace.keys()


def test_unknown_names_are_attribute_errors() -> None:
    """A name that does not exist is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(idlanyard, "no_such_name")  # noqa: B009


def test_the_version_is_the_newest_of_the_changelog() -> None:
    """
    CHANGELOG.md has a part for what comes, and below it the version of the package, with its day.
    """
    text = Path(__file__).parents[1].joinpath("CHANGELOG.md").read_text(encoding="utf-8")
    parts = re.findall(r"^## \[(.*?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert parts[0] == ("Unreleased", "")
    assert parts[1][0] == idlanyard.__version__
    assert all(day for _, day in parts[1:])
