"""
The IDs as attributes of OpenTelemetry's log records.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord

from idlanyard.integrations.custom import report_failure
from idlanyard.integrations.opentelemetry._names import AttributeNames, Names


class SessionContextLogRecordProcessor(LogRecordProcessor):
    """
    Put the IDs in force on every log record, when it is emitted.

    An attribute that is there already stays. The values are as each ID's log
    sink shows them. Processors run in the order in which they were added: add
    this one before those that export.

    Args:
        names: as in ``SessionContextSpanProcessor``.
        enabled: ``False`` puts nothing on any record.

    Raises:
        TypeError: a name is neither a ``str`` nor ``None``.
        ValueError: there is no such preset, a name is empty, or an ID is
            misspelt.
    """

    def __init__(self, names: Names | AttributeNames = "default", *, enabled: bool = True) -> None:
        self._names = names if isinstance(names, AttributeNames) else AttributeNames(names)
        self._enabled = enabled

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """
        Put what is in force where the record is emitted on it.

        Args:
            log_record: the record on its way to the exporters.
        """
        if not self._enabled:
            return
        try:
            attributes: Any = log_record.log_record.attributes
            for name, text in self._names.in_force("log").items():
                attributes.setdefault(name, text)
        except Exception as error:
            report_failure("log record processor", error)

    def shutdown(self) -> None:
        """
        Stop, for good.
        """
        self._enabled = False

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the SDK's signature
        """
        Say that nothing waits here.

        Args:
            timeout_millis: not used.

        Returns:
            ``True``.
        """
        return True
