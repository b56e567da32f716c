"""
Output of a command: lines, JSON, tables and progress.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple, Protocol, TextIO

from idlanyard.registry._command._statuses import UsageError
from idlanyard.registry._command._text import escape_text, scrub_text


class Streams(NamedTuple):
    """
    The streams of a command.

    Attributes:
        input: the input of an import.
        out: the output.
        err: everything else that is printed: questions, faults, progress.
    """

    input: BinaryIO
    out: TextIO
    err: TextIO


class Progress(Protocol):
    """
    The progress of long work.
    """

    def advance(self, done: int) -> None:
        """
        Add to the number of items that are done.
        """
        ...


class _Silent:
    def advance(self, done: int) -> None:
        """
        Show nothing.
        """


class Printer:
    """
    Writes a command's output, without anything that controls a terminal.

    Args:
        streams: the streams to write to.
        urls: the URLs whose passwords are never written.
        is_json: whether the output is JSON, for a program.
    """

    def __init__(self, streams: Streams, urls: Sequence[str], *, is_json: bool) -> None:
        self._streams = streams
        self._urls = urls
        self.is_json = is_json

    def line(self, text: str) -> None:
        """
        Write a line to the output.
        """
        _write(self._streams.out, text)

    def document(self, value: Mapping[str, Any]) -> None:
        """
        Write one JSON document.
        """
        self._streams.out.write(json.dumps(value) + "\n")

    def say(self, text: str, *, end: str = "\n") -> None:
        """
        Write a message, apart from the output.
        """
        # If both streams are one terminal, lines appear in the order in which they were written.
        self._streams.out.flush()
        _write(self._streams.err, scrub_text(text, self._urls), end=end)
        self._streams.err.flush()

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """
        Write rows: as a table on a terminal if Rich is installed, else with tabs.
        """
        rows = iter(rows)
        # A store that fails at once leaves no titles without rows.
        first = list(islice(rows, 1))
        cells = _escape_rows(chain(first, rows), self._streams.out)
        if self._streams.out.isatty() and _has_rich():
            from idlanyard.registry._command import _tables

            _tables.write_table(self._streams.out, titles, cells)
            return
        self._streams.out.write("\t".join(titles) + "\n")
        for row in cells:
            self._streams.out.write("\t".join(row) + "\n")

    def progress(self, about: str, total: int | None) -> AbstractContextManager[Progress]:
        """
        Return a block that shows the progress of long work, if there is a terminal.
        """
        if self._streams.err.isatty() and not self.is_json and _has_rich():
            from idlanyard.registry._command import _tables

            return _tables.show_progress(self._streams.err, about, total)
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


def _escape_rows(rows: Iterable[Sequence[str]], stream: TextIO) -> Iterable[Sequence[str]]:
    encoding = stream.encoding or "utf-8"
    return ([escape_text(cell, encoding) for cell in row] for row in rows)


def _write(stream: TextIO, text: str, *, end: str = "\n") -> None:
    encoding = stream.encoding or "utf-8"
    stream.write("\n".join(escape_text(line, encoding) for line in text.split("\n")) + end)
