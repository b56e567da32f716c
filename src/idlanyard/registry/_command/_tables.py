"""
Tables and progress bars by Rich, imported only where Rich is used.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class _Bar:
    def __init__(self, shown: Progress, about: str, total: int | None) -> None:
        self._shown = shown
        self._task = shown.add_task(about, total=total)

    def advance(self, done: int) -> None:
        """
        Move the bar forward.
        """
        self._shown.advance(self._task, done)


def write_table(stream: TextIO, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """
    Write a table; cells are plain text, not markup.
    """
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=stream).print(table)


@contextmanager
def show_progress(stream: TextIO, about: str, total: int | None) -> Generator[_Bar, None, None]:
    """
    Show a progress bar during the block.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(file=stream), transient=True
    ) as shown:
        yield _Bar(shown, about, total)
