"""
A read-only view of a request, for sources, proofs and ``must_match``.

Made only when somebody asks; the protocol files say where things are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """
    The request's header lines as they came in, by name in any case.

    Several lines of one name are joined by ``", "`` (RFC 9110 5.3).
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
    What ``must_match`` and the sources may look at.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def headers(self) -> Headers:
        """
        The header lines as they came in, before sanitising.
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
        The transport-level address, ``"unix"``, or ``None`` where unknown.
        """
