"""
The read-only view of a request that sources and ``must_match`` get.

It is made only when one of them needs it; ``_decision/protocols.py`` has one for each protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """
    The header lines of a request as they arrived, by name in any case.

    Lines of the same name are joined by ``", "`` (RFC 9110, section 5.3).
    """

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines: dict[str, list[str]] = {}
        for name, value in lines:
            self._lines.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._lines[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def lines(self, name: str) -> list[str]:
        """
        Return the value of every line called *name*.
        """
        return list(self._lines.get(name.lower(), ()))


class Request(ABC):
    """
    A request as sources and ``must_match`` see it.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def headers(self) -> Headers:
        """
        The header lines as they arrived, before any is removed.
        """

    @property
    @abstractmethod
    def path(self) -> str:
        """
        The path alone, decoded, below ``root_path`` or ``SCRIPT_NAME``.
        """

    @property
    @abstractmethod
    def query(self) -> str:
        """
        The query string, still percent-encoded.
        """

    @property
    @abstractmethod
    def peer(self) -> str | None:
        """
        The address of the connection, ``"unix"``, or ``None`` if it is unknown.
        """
