"""
What the README says is run as it stands.
"""

from __future__ import annotations

import contextvars
import re
from pathlib import Path

import pytest

from idlanyard import Policy, PolicyError

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_the_readme_runs(number: int) -> None:
    """
    The Python that the README shows runs, each block by itself.
    """
    code = compile(BLOCKS[number], f"README block {number}", "exec")
    contextvars.Context().run(exec, code, {"__name__": "readme"})


def test_the_readme_shows_the_error_that_comes() -> None:
    """
    The sentence that the README prints is the one that is raised.
    """
    with pytest.raises(PolicyError) as caught:
        Policy(trusted_peers=["10.0.0.5/8"])
    assert f"\n    {caught.value}\n" in README


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_readme_has_its_commands_on_one_line(command: str) -> None:
    """
    Each of the two commands is one line below its mark, where the CI script finds it.
    """
    found = re.findall(rf"<!-- command: {command} -->\n```bash\n([^\n]+)\n```", README)
    assert len(found) == 1
