"""
The application on the command line is found, or a sentence says what to write instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from idlanyard._doctor._target import CannotRun, load_target

APPS = "doctor.apps"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """
    The current folder, empty, whose modules can be imported.
    """
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), [*sys.path]
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        pytest.param("right:asgi", None, "asgi", id="ASGI"),
        pytest.param("right:wsgi", None, "wsgi", id="WSGI"),
        pytest.param("right:create_app", None, "wsgi", id="a factory"),
        pytest.param("right:create_app()", None, "wsgi", id="the call of a factory"),
        pytest.param("right:make_fastapi", "factory", "asgi", id="a factory that is told"),
        pytest.param("right", None, "wsgi", id="a usual name"),
        pytest.param("wrong:plain.router", None, "asgi", id="a part of an object"),
        pytest.param("wrong:leaving", None, "wsgi", id="a WSGI function"),
        pytest.param("wrong:slow_async", None, "asgi", id="an ASGI function"),
        pytest.param("wrong:takes_anything", "wsgi", "wsgi", id="any callable, told"),
    ],
)
def test_the_kind_is_detected(text: str, kind: str | None, found: str) -> None:
    """
    ASGI, WSGI and factories are told apart by how they are called.
    """
    assert load_target(f"{APPS}.{text}", kind).kind == found


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("doctor/apps/right.py:asgi", None, "write its module, doctor.apps.right:asgi"),
        ("right.py", None, "write its module, right:app"),
        (f"{APPS}.nowhere:app", None, f"there is no module {APPS}.nowhere here"),
        (
            f"{APPS}.right:no",
            None,
            f"{APPS}.right has no no: write {APPS}.right:create_app",
        ),
        (f"{APPS}.wrong:nothing", None, f"{APPS}.wrong has no nothing: name another"),
        (f"{APPS}.wrong", None, "has none of app, application"),
        (f"{APPS}.wrong:not_an_application", None, "is of type int, which is no application"),
        (f"{APPS}.wrong:takes_anything", None, "add --kind asgi or --kind wsgi"),
        (f"{APPS}.wrong:needs_arguments", None, "add --kind asgi or --kind wsgi"),
        (f"{APPS}.wrong:broken_factory", None, "is a factory, and its call failed: LookupError"),
        (f"{APPS}.wrong:broken_factory()", None, "broken_factory() failed: LookupError: as asked"),
        (f"{APPS}.wrong:factory_without_library", None, ": install no_such_library into the env"),
        ("builtins:dict", None, "add --kind asgi or --kind wsgi"),
        (f"{APPS}.right:wsgi", "django", f"settings module alone: write {APPS}.right"),
        ("type:app", None, "there is no module type here"),
    ],
)
def test_a_wrong_target_is_explained(text: str, kind: str | None, said: str) -> None:
    """
    The message says what is wrong with the words on the command line, and what to write.
    """
    with pytest.raises(CannotRun) as caught:
        load_target(text, kind)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param("import os; os.environ['NO_SUCH']", "KeyError: 'NO_SUCH' (", id="an error"),
        pytest.param("import no_such_library", "install no_such_library into", id="a library"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="an exit"),
        pytest.param("raise ValueError", "failed: ValueError (", id="an error without words"),
    ],
)
def test_an_import_that_fails_is_explained(folder: Path, code: str, said: str) -> None:
    """
    An error of the application's own module is named, with its line.
    """
    folder.joinpath("broken_at_import.py").write_text(code, encoding="utf-8")
    with pytest.raises(CannotRun) as caught:
        load_target("broken_at_import:app")
    assert "the import of broken_at_import failed" in str(caught.value)
    assert said in str(caught.value)
