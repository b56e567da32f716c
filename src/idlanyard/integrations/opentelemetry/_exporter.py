"""
An exporter that writes finished spans to files, one file per session.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from idlanyard._binding.snapshot import DEFAULT_POLICY
from idlanyard.ids import safe_filename
from idlanyard.integrations.custom import report_failure
from idlanyard.integrations.opentelemetry._names import AttributeNames, Names
from idlanyard.integrations.opentelemetry._processors import Unbuffered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

# Windows has no O_NOFOLLOW, and other systems have no O_BINARY.
_APPEND: Final = (
    os.O_WRONLY
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)


class SessionFileSpanExporter(Unbuffered, SpanExporter):
    """
    Append finished spans to ``DIRECTORY/SESSION.jsonl``, one line each.

    The session is read from the span's attributes, since the thread that
    exports handles the spans of all sessions. ``ids.safe_filename`` names the
    file. A span without a session is not written. Only the owner can read the
    files, and their number is not limited.

    Args:
        directory: the directory of the files; it is created with the first one.
        names: as for ``SessionContextSpanProcessor``.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, or the session is left off.
    """

    def __init__(self, directory: str | os.PathLike[str], *, names: Names = "default") -> None:
        self._directory = Path(directory)
        attribute = AttributeNames(names).of(DEFAULT_POLICY, "session_id")
        if attribute is None:
            raise ValueError("names leaves session_id off, which names the files: give it a name")
        self._attribute = attribute
        self._writing = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """
        Append *spans* to the files of their sessions.

        Args:
            spans: finished spans of any sessions.

        Returns:
            ``FAILURE`` if a file cannot be written, and after ``shutdown``.
        """
        try:
            with self._writing:
                if not self._enabled:
                    return SpanExportResult.FAILURE
                for session, lines in self._lines_by_session(spans).items():
                    self._append(f"{safe_filename(session)}.jsonl", lines)
        except Exception as error:
            report_failure("span file exporter", error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """
        Write nothing any more, once an export that is running has ended.
        """
        with self._writing:
            super().shutdown()

    def _lines_by_session(self, spans: Sequence[ReadableSpan]) -> dict[str, str]:
        sessions: dict[str, str] = {}
        for span in spans:
            session = (span.attributes or {}).get(self._attribute)
            if isinstance(session, str) and session:
                line = f"{span.to_json(indent=None)}\n"
                sessions[session] = sessions.get(session, "") + line
        return sessions

    def _append(self, name: str, lines: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / name, _APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines.encode())
