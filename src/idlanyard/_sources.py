"""
The places that an ID can be read from (``design`` section 4).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from idlanyard._baggage import Baggage
from idlanyard._request import Request
from idlanyard.exceptions import PolicyError

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_AMZN_ROOT: Final = re.compile(r"(?:^|;)\s*Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?=;|$)")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_MOST_QUERY_FIELDS: Final = 1000
_MOST_SPELLINGS: Final = 8


def trace_id(line: str) -> str | None:
    """
    Return the trace ID of a ``traceparent`` header (W3C Trace Context).
    """
    match = _TRACEPARENT.fullmatch(line)
    if match is None or (match[1] == "00" and match[3]):
        return None
    return match[2]


def amzn_root(line: str) -> str | None:
    """
    Return the ``Root`` of an ``X-Amzn-Trace-Id`` header.
    """
    match = _AMZN_ROOT.search(line)
    return match[1] if match else None


@dataclass(frozen=True)
class Header:
    """
    A request header.

    Args:
        name: as it is written on the wire, in any case.
        parse: takes the line and returns the ID in it, or ``None``. The
            result passes the ID's own check like any other value. A header
            that is parsed belongs to somebody else as well: it stays in the
            request even where the ID is refused, unless it needs proof.
    """

    name: str
    parse: Callable[[str], str | None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _TOKEN.fullmatch(self.name):
            raise PolicyError(
                f"Header({self.name!r}) is no header name: write letters, digits and '-', "
                f"such as Header('X-Session-ID')",
                option="sources",
                value=self.name,
            )
        if self.name.count("-") + self.name.count("_") > _MOST_SPELLINGS:
            raise PolicyError(
                f"Header({self.name!r}) can be spelled in too many ways: "
                f"use a name with at most {_MOST_SPELLINGS} hyphens",
                option="sources",
                value=self.name,
            )
        if self.parse is not None and not callable(self.parse):
            raise PolicyError(
                "Header(parse=...) takes a function of the line", option="parse", value=self.parse
            )

    def spellings(self) -> list[str]:
        """
        Return the name, lower-case, and then every alias of it (S3).
        """
        letters = [{"-": "-_", "_": "_-"}.get(c, c) for c in self.name.lower()]
        return ["".join(spelling) for spelling in product(*letters)]

    @classmethod
    def traceparent(cls) -> Header:
        """
        The trace ID of W3C ``traceparent``.
        """
        return cls("traceparent", parse=trace_id)

    @classmethod
    def amzn_trace_id(cls) -> Header:
        """
        The root of ``X-Amzn-Trace-Id``.
        """
        return cls("X-Amzn-Trace-Id", parse=amzn_root)


@dataclass(frozen=True)
class Cookie:
    """
    A cookie, the client's word.

    Args:
        name: the cookie's name.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _TOKEN.fullmatch(self.name):
            raise PolicyError(
                f"Cookie({self.name!r}) is no cookie name", option="sources", value=self.name
            )

    def read(self, request: Request) -> list[str]:
        """
        Return the values of every cookie of this name.
        """
        pairs = (
            crumb.strip(" \t").partition("=")
            for line in request.headers.lines("cookie")
            for crumb in line.split(";")
        )
        return [value for name, equals, value in pairs if equals and name == self.name]


@dataclass(frozen=True)
class Query:
    """
    A parameter of the query string, the client's word.

    Args:
        name: the parameter's name.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise PolicyError("Query('') has no name", option="sources", value=self.name)

    def read(self, request: Request) -> list[str]:
        """
        Return the values of every parameter of this name.
        """
        from urllib.parse import parse_qsl

        try:
            fields = parse_qsl(
                request.query, keep_blank_values=True, max_num_fields=_MOST_QUERY_FIELDS
            )
        except ValueError:
            return []
        return [value for name, value in fields if name == self.name]


@dataclass(frozen=True)
class Subdomain:
    """
    The one label before a base domain, the client's word.

    Args:
        base: the domain below which the IDs stand: ``"app.example"`` reads
            ``acme`` from ``acme.app.example``.
    """

    base: str

    def __post_init__(self) -> None:
        base = self.base.lower().strip(".") if isinstance(self.base, str) else ""
        if not base or not all(_LABEL.fullmatch(label) for label in base.split(".")):
            raise PolicyError(
                f"Subdomain({self.base!r}) is no domain: write Subdomain('app.example')",
                option="sources",
                value=self.base,
            )
        object.__setattr__(self, "base", base)

    def read(self, request: Request) -> list[str]:
        """
        Return the label, lower-case, of every ``Host`` line that has one.
        """
        hosts = request.headers.lines("host")
        found: list[str] = []
        for host in hosts:
            name = host.partition(":")[0].lower().rstrip(".")
            label = name.removesuffix(f".{self.base}")
            if label != name and _LABEL.fullmatch(label):
                found.append(label)
        return found if len(found) == len(hosts) else []


@dataclass(frozen=True)
class PathPrefix:
    """
    A segment of the path, the client's word.

    Args:
        template: how paths start, with one segment in braces:
            ``"/tenants/{tenant_id}"`` reads ``acme`` from
            ``/tenants/acme/orders``.
    """

    template: str

    def __post_init__(self) -> None:
        segments = self.template.split("/") if isinstance(self.template, str) else []
        braced = [s for s in segments if s.startswith("{") and s.endswith("}")]
        if not segments or segments[0] or len(braced) != 1 or self.template.count("{") != 1:
            raise PolicyError(
                f"PathPrefix({self.template!r}) needs one segment in braces: "
                f"write PathPrefix('/tenants/{{tenant_id}}')",
                option="sources",
                value=self.template,
            )

    def read(self, request: Request) -> list[str]:
        """
        Return the segment where the path starts as the template says.
        """
        template = self.template.rstrip("/").split("/")
        segments = request.path.split("/")[: len(template)]
        if len(segments) < len(template):
            return []
        found: list[str] = []
        for expected, segment in zip(template, segments, strict=True):
            if expected.startswith("{"):
                found.append(segment)
            elif expected != segment:
                return []
        return found


Source: TypeAlias = Header | Cookie | Query | Subdomain | PathPrefix | Baggage
