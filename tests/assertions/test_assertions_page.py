"""
docs/assertions.md: its policies can be made, and its messages are those of the package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from assertions.minting import ec_key, ed_key, jwk_of, jwks_of, rsa_key
from idlanyard import Policy
from idlanyard.signing import Assertion

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "assertions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PINNED = jwks_of(jwk_of(rsa_key("ours")), jwk_of(ec_key("ours")), jwk_of(ed_key("ours")))
PRESETS = {name for name, member in vars(Assertion).items() if isinstance(member, classmethod)}


@pytest.mark.parametrize("code", [block for block in BLOCKS if "make_policy" in block])
def test_a_policy_of_the_page_is_made(code: str) -> None:
    """
    Each is one that the package accepts, here with keys that are pinned instead of fetched.
    """
    pinned = re.sub(r"^ +keys=.*\n", "", code, flags=re.MULTILINE)
    pinned = re.sub(r"(Assertion(?:\.\w+)?\()", r"\1keys=PINNED, ", pinned, count=1)
    pinned = pinned.replace('keys=PINNED, \n        "X-Gateway', '"X-Gateway').replace(
        "algorithm=", "keys=PINNED, algorithm="
    )
    space: dict[str, Any] = {"PINNED": PINNED}
    exec(pinned, space)
    assert isinstance(space["make_policy"](), Policy)


def test_the_page_shows_each_preset() -> None:
    """
    Each preset has its row in the table, and the code of a policy.
    """
    rows = set(re.findall(r"^\|.*?\| `(\w+)` \|", PAGE, re.MULTILINE))
    shown = {name for block in BLOCKS for name in re.findall(r"Assertion\.(\w+)\(", block)}
    assert (rows, shown) == (PRESETS, PRESETS)


def test_the_page_quotes_the_messages() -> None:
    """
    The reasons for which tokens are refused are the ones that the tests look for.
    """
    section = PAGE.partition("## What is refused")[2].partition("\n## ")[0]
    quoted = re.findall(r"`((?:has|is|names|came|never) [^`]+)`", section)
    tested = "".join(
        (HERE / f"test_{name}.py").read_text("utf-8") for name in ("verifying", "assertion")
    )
    assert len(quoted) > 10
    assert [text for text in quoted if text.replace(" at sub", " at") not in tested] == []
