"""
Finds the fenced blocks of the pages, and the lines in them that install packages.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_INSTALL = re.compile(r"\bpip install (.*?)(?= +(?:&&|#)|$)", re.MULTILINE)


class Block(NamedTuple):
    """
    A block between fences.

    Attributes:
        page: its page, from the root of the project.
        line: the number of the line of its first fence.
        language: the word behind it.
        text: what stands between the fences, without the indentation.
        follows: whether there is nothing but "It prints" between this block and one of Python.
    """

    page: str
    line: int
    language: str
    text: str
    follows: bool


def find_blocks(page: Path) -> list[Block]:
    """
    Return the blocks of a page, in their order.
    """
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    after = 0
    for fence in _FENCE.finditer(text):
        between = text[after : fence.start()].strip()
        is_near = re.fullmatch(r"(It prints[^\n]*)?", between) is not None
        follows = is_near and bool(found) and found[-1].language == "python"
        line = text.count("\n", 0, fence.start()) + 1
        name = page.relative_to(ROOT).as_posix()
        found.append(Block(name, line, fence[2], textwrap.dedent(fence[3]), follows))
        after = fence.end()
    return found


def find_installs() -> dict[str, list[str]]:
    """
    Return the words behind each distinct ``pip install`` of the pages, by the line.
    """
    texts = [
        block.text for page in PAGES for block in find_blocks(page) if block.language == "bash"
    ]
    lines = {line for text in texts for line in _INSTALL.findall(text)}
    return {line: shlex.split(line) for line in sorted(lines)}
