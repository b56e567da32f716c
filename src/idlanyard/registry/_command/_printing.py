"""
What a command prints: lines, JSON, tables, progress.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple, Protocol, TextIO

from idlanyard.registry._command._showing import scrubbed, text_shown
from idlanyard.registry._command._statuses import UsageError


class Streams(NamedTuple):
    """
    Where a command reads and writes.

    Attributes:
        input: what an import reads.
        out: what was asked for.
        err: what is said besides: questions, faults, progress.
    """

    input: BinaryIO
    out: TextIO
    err: TextIO


class Progress(Protocol):
    """
    How far long work has come.
    """

    def advance(self, done: int) -> None:
        """
        Note that so many more are done.
        """
        ...


class _Silent:
    def advance(self, done: int) -> None:
        """
        Say nothing.
        """


class Printer:
    """
    Writes what a command has to say, so that nothing in it acts on a terminal.

    Args:
        streams: where to.
        urls: those whose passwords are never written.
        is_json: whether a program reads it.
    """

    def __init__(self, streams: Streams, urls: Sequence[str], *, is_json: bool) -> None:
        self._streams = streams
        self._urls = urls
        self.is_json = is_json

    def line(self, text: str) -> None:
        """
        Write a line of what was asked for.
        """
        _write(self._streams.out, text)

    def document(self, value: Mapping[str, Any]) -> None:
        """
        Write one JSON document.
        """
        self._streams.out.write(json.dumps(value) + "\n")

    def say(self, text: str, *, end: str = "\n") -> None:
        """
        Write a line beside what was asked for, each of its lines made safe.
        """
        # Where both go to one place, the lines are in the order in which they were written.
        self._streams.out.flush()
        _write(self._streams.err, scrubbed(text, self._urls), end=end)
        self._streams.err.flush()

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """
        Write rows: as a table on a terminal where Rich is installed, else with tabs.
        """
        rows = iter(rows)
        # Nothing is written where already the first cannot be had.
        first = list(islice(rows, 1))
        cells = _safe(chain(first, rows), self._streams.out)
        if self._streams.out.isatty() and _has_rich():
            from idlanyard.registry._command import _tables

            _tables.write(self._streams.out, titles, cells)
            return
        self._streams.out.write("\t".join(titles) + "\n")
        for row in cells:
            self._streams.out.write("\t".join(row) + "\n")

    def progress(self, about: str, total: int | None) -> AbstractContextManager[Progress]:
        """
        Return a block in which long work shows how far it has come, on a terminal.
        """
        if self._streams.err.isatty() and not self.is_json and _has_rich():
            from idlanyard.registry._command import _tables

            return _tables.progress(self._streams.err, about, total)
        return nullcontext(_Silent())

    def confirm(self, question: str, *, instead: str) -> bool:
        """
        Return whether the person at the terminal says yes.

        Raises:
            UsageError: there is no terminal to ask on.
        """
        if not (self._streams.err.isatty() and self._streams.input.isatty()):
            raise UsageError(f"there is no terminal to ask on: {instead}")
        self.say(f"{question} [y/N] ", end="")
        answer = self._streams.input.readline(100).strip().lower()
        return answer in (b"y", b"yes")


def _has_rich() -> bool:
    try:
        import rich
    except ImportError:
        return False
    return bool(rich)


def _safe(rows: Iterable[Sequence[str]], stream: TextIO) -> Iterable[Sequence[str]]:
    encoding = stream.encoding or "utf-8"
    return ([text_shown(cell, encoding) for cell in row] for row in rows)


def _write(stream: TextIO, text: str, *, end: str = "\n") -> None:
    encoding = stream.encoding or "utf-8"
    stream.write("\n".join(text_shown(line, encoding) for line in text.split("\n")) + end)
