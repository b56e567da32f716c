"""
docs/settings.md has every option as each framework spells it, and every environment variable.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from idlanyard import IDSpec, Policy
from idlanyard._policy.environment import _READ
from idlanyard._policy.settings import policy_from_settings
from idlanyard._policy.sources import Source
from idlanyard.integrations.flask import IDLanyard

ROOT = Path(__file__).parents[1]
SPECS = ("session", "user", "tenant")


def section(page: str, title: str) -> str:
    """
    Return a section of a page.
    """
    text = ROOT.joinpath("docs", page).read_text(encoding="utf-8")
    return re.split(r"^## ", text.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def rows(title: str) -> dict[str, list[str]]:
    """
    Return the rows of a section's table by the code in their first column.
    """
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", section("settings.md", title), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in lines}


def options(rule: type[Any]) -> list[str]:
    """
    Return the names of the options of a class.
    """
    return [field.name for field in dataclasses.fields(rule) if field.init]


def value_of(rule: Any, option: str) -> Any:
    """
    Return what an option is set to, as settings would hold it.
    """
    value = getattr(rule, option)
    return list(value) if isinstance(value, tuple) else value


def test_every_option_is_spelled_for_each_framework() -> None:
    """
    The table has each option of Policy once, in order, as Django and Flask spell it.
    """
    spelled = {name: cells[:2] for name, cells in rows("Options of a policy").items()}
    assert list(spelled) == options(Policy)
    assert spelled == {
        name: [f'`"{name.upper()}"`', f"`IDLANYARD_{name.upper()}`"] for name in spelled
    }


@pytest.mark.parametrize("option", options(Policy))
def test_the_spellings_of_an_option_are_read(option: str) -> None:
    """
    The key of Django's dictionary and the one of Flask's configuration are accepted.
    """
    django, flask, *_ = rows("Options of a policy")[option]
    value = None if option in SPECS else value_of(Policy(), option)
    given: dict[str, Any] = {option: value}
    expected = Policy(**given)
    assert policy_from_settings({django.strip('`"'): value}, written="{}") == expected
    app = Flask("settings")
    app.config[flask.strip("`")] = value
    IDLanyard(app)


def test_the_environment_has_the_options_that_are_listed_for_it() -> None:
    """
    The variables in the table of options are those that a policy is read from.
    """
    listed = {cells[2].strip("`") for cells in rows("Options of a policy").values()} - {""}
    assert listed == {name for name in _READ if name.partition("_")[2].lower() in options(Policy)}


def test_every_rule_of_an_id_is_spelled() -> None:
    """
    The table has each option of IDSpec once, in order, and settings accept its spelling.
    """
    spelled = rows("Rules of an ID")
    assert list(spelled) == options(IDSpec)
    example = IDSpec(name="device_id", header="X-Device-ID")
    for option, (cell,) in spelled.items():
        for key in re.findall(r'`"(\w+)"`', cell):
            rule = {"NAME": "device_id", "HEADER": "X-Device-ID", key: value_of(example, option)}
            policy = policy_from_settings({"EXTRA": [rule]}, written="{}")
            assert policy == Policy(extra=[example])


def test_the_arguments_of_the_flask_extension_are_listed() -> None:
    """
    The table has the arguments of IDLanyard.
    """
    assert list(rows("Flask's other settings")) == list(inspect.signature(IDLanyard).parameters)


def test_every_environment_variable_is_listed() -> None:
    """
    The table has each variable that the source reads, and no other.
    """
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "src").rglob("*.py")]
    constants = {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    read = {name for name in constants if re.fullmatch(r"(IDLANYARD|OTEL)_[A-Z_]*[A-Z]", name)}
    assert rows("Environment variables").keys() == read | _READ


def test_every_source_has_its_row() -> None:
    """
    The policy's page has a row for each kind of source.
    """
    table = section("policy.md", "Sources")
    kinds = [kind.__name__ for kind in typing.get_args(Source)]
    shown = set(re.findall(r"^\| [^|]*?`(\w+)[(.]", table, re.MULTILINE))
    assert set(kinds) - shown == set()
