"""
The table by Rich, imported only where Rich is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLUMNS: Final = (
    ("check", 30),
    ("verdict", 14),
    ("what was seen", None),
    ("what to write", 36),
)
_WIDTH: Final = 132


def write_table(
    title: str, rows: Sequence[Sequence[str]], colours: Mapping[str, str], out: TextIO
) -> None:
    """
    Write a table; cells are plain text, not markup.

    Args:
        title: the line above it.
        rows: the cells, of which the second is the verdict.
        colours: the style of a verdict.
        out: the stream to write to.
    """
    table = Table()
    for heading, most in _COLUMNS:
        table.add_column(heading, overflow="fold", max_width=most)
    for name, verdict, seen, write in rows:
        shown = Text(verdict, colours.get(verdict, ""))
        table.add_row(Text(name), shown, Text(seen), Text(write), end_section=True)
    out.write(f"{title}\n")
    console = Console(file=out) if out.isatty() else Console(file=out, width=_WIDTH)
    console.print(table)
