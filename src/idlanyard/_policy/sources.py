"""
The sources of an ID: the places of a request that it is read from.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import chain, product
from typing import Final, TypeAlias

from idlanyard._policy import callables
from idlanyard._policy.header_names import find_header_fault, find_plain_header_fault
from idlanyard._policy.request import Request
from idlanyard._policy.server_sources import Environ, Scope
from idlanyard.exceptions import PolicyError

_KEY: Final = re.compile(r"[A-Za-z0-9_.~-]+")
_MOST_BYTES: Final = 8192
_MOST_MEMBERS: Final = 64


@dataclass(frozen=True)
class Baggage:
    """
    A member of the W3C ``baggage`` header; its value is never proven.

    All lines of the header count as one. If they are longer than 8,192 bytes
    they are not read; of more than 64 members only the first 64 are.

    Args:
        key: the key of the member, such as ``"session.id"``.

    Raises:
        PolicyError: the key is no baggage key; the message says what to write.
    """

    key: str

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not _KEY.fullmatch(self.key):
            raise PolicyError(
                f"Baggage({self.key!r}) is no key: write letters, digits and - . _ ~, "
                f"such as Baggage('session.id')",
                option="sources",
                value=self.key,
            )

    def read(self, request: Request) -> list[str]:
        """
        Return the values of every member of this key.
        """
        lines = request.headers.lines("baggage")
        # The length is checked before anything is split; a comma joins each line to the next.
        if not lines or sum(map(len, lines)) + len(lines) - 1 > _MOST_BYTES:
            return []
        return [value for key, value in _split_members(lines) if key == self.key]


def _split_members(lines: list[str]) -> Iterator[tuple[str, str]]:
    """
    Yield the decoded key and value of each of the first 64 members.
    """
    from urllib.parse import unquote_plus

    members = list(chain.from_iterable(line.split(",") for line in lines))
    for member in members[:_MOST_MEMBERS]:
        key, equals, value = member.partition("=")
        if equals:
            yield unquote_plus(key.strip(" \t")).strip(), unquote_plus(value.strip(" \t"))


_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_AMZN_ROOT: Final = re.compile(r"(?:^|;)\s*Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?=;|$)")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_BRACED: Final = re.compile(r"\{[A-Za-z_]\w*\}")
_WILD: Final = re.compile(r"[*?<>\[\]|\\^$]|^:")
_MOST_QUERY_FIELDS: Final = 1000


def read_trace_id(line: str) -> str | None:
    """
    Return the trace ID of a ``traceparent`` header (W3C Trace Context).
    """
    match = _TRACEPARENT.fullmatch(line)
    if match is None or (match[1] == "00" and match[3]):
        return None
    return match[2]


def read_amzn_root(line: str) -> str | None:
    """
    Return the ``Root`` of an ``X-Amzn-Trace-Id`` header.
    """
    match = _AMZN_ROOT.search(line)
    return match[1] if match else None


@dataclass(frozen=True)
class Header:
    """
    A request header.

    A value that *parse* returns is proven or not like any other value of a
    header: by a trusted peer or a shared secret. A value that *verify* returns
    is proven by itself, whoever the peer is, and has the provenance
    ``SIGNED``.

    A header that HTTP, proxies or applications give a meaning of its own
    (``Authorization``, ``Cookie``, ``Host``, ``X-Forwarded-For``,
    ``traceparent``, ``X-API-Key`` ...) always stays in the request. Any other
    header is removed from the request if its ID needs a proof that the
    request does not have, parsed or not, and if *verify* finds no ID in it.

    Args:
        name: the name of the header, in any case. A name with ``_`` is
            possible, but many proxies and servers drop such a header.
        parse: a function that takes the line and returns the ID in it, or
            ``None``. The result passes the check of the ID like any other
            value. Clients choose the line: a pattern that backtracks, such
            as ``(a+)+b``, can be kept busy with it for seconds.
        verify: a function that takes the line, verifies the signature on it,
            and returns the ID that is signed, or ``None``. All sources of an
            ID have one, or none has. It is called on the path of each request
            with the header, on ASGI in the event loop: let it ask nobody, and
            take no longer than its cryptography. On ASGI it may be an async
            function, which may ask somebody, within a time limit of its own:
            the request waits for it. A line of over 16,384 characters is not
            verified by an async function.
        siblings: the names of headers that always leave the request: the
            unsigned copies that a proxy sends beside a signed header.
        peers_too: whether the sender has to be trusted besides, by its
            address or the shared secret.

    Raises:
        PolicyError: the name is no header name, or an option is wrong; the
            message says what to write.
    """

    name: str
    parse: Callable[[str], str | None] | None = None
    verify: Callable[[str], str | Awaitable[str | None] | None] | None = None
    siblings: tuple[str, ...] = ()
    peers_too: bool = False

    def __post_init__(self) -> None:
        fault = find_header_fault(self.name)
        if fault is not None:
            raise PolicyError(
                f"Header({self.name!r}) {fault.why}: "
                f"write Header({fault.instead or 'X-Session-ID'!r})",
                option="sources",
                value=self.name,
            )
        self._check_functions()
        self._check_peers_too()
        self._check_siblings()

    @property
    def reader(self) -> Callable[[str], object] | None:
        """
        The function that returns the ID in a line, ``None`` if the whole line is the ID.
        """
        return self.parse if self.verify is None else self.verify

    def _check_functions(self) -> None:
        for option, read in (("parse", self.parse), ("verify", self.verify)):
            awaited = option == "verify"
            if read is None:
                continue
            wrong = callables.find_call_fault(read, "the line", awaited=awaited)
            if wrong is not None:
                raise PolicyError(f"Header({option}=...) {wrong}", option=option, value=read)
        if callables.describe_finding(self.verify) is not None:
            raise PolicyError(
                f"Header(verify={self.verify!r}) reads what a header says about a certificate and "
                f"verifies nothing, so any client could be anybody: write Header({self.name!r}, "
                f"parse=...), and the proxy that sets it in trusted_peers",
                option="verify",
                value=self.verify,
            )
        if self.parse is not None and self.verify is not None:
            raise PolicyError(
                "Header(parse=..., verify=...) reads the line twice: let verify return the ID",
                option="verify",
                value=self.verify,
            )

    def _check_peers_too(self) -> None:
        if type(self.peers_too) is not bool:
            raise PolicyError(
                f"Header(peers_too=...) is True or False, not {self.peers_too!r}",
                option="peers_too",
                value=self.peers_too,
            )
        if self.peers_too and self.verify is None:
            raise PolicyError(
                "Header(peers_too=True) asks for a trusted peer besides a signature: leave it out "
                "without verify, since accept='proven' asks for the peer",
                option="peers_too",
                value=True,
            )

    def _check_siblings(self) -> None:
        given: object = self.siblings
        if not isinstance(given, list | tuple):
            written = repr([given]) if isinstance(given, str) else "['X-Proxy-Email']"
            raise PolicyError(
                f"Header(siblings=...) is a list: write siblings={written}",
                option="siblings",
                value=given,
            )
        object.__setattr__(self, "siblings", tuple(self.siblings))
        for name in self.siblings:
            fault = find_plain_header_fault(name)
            if fault is not None:
                raise PolicyError(
                    f"Header(siblings=...) has {name!r}, which {fault.why}: "
                    f"name headers that only this proxy sets, as in siblings=['X-Proxy-Email']",
                    option="siblings",
                    value=name,
                )

    def spellings(self) -> list[str]:
        """
        Return the name in lower case, followed by its aliases with ``_`` for ``-``.
        """
        letters = [{"-": "-_", "_": "_-"}.get(c, c) for c in self.name.lower()]
        return ["".join(spelling) for spelling in product(*letters)]

    @classmethod
    def traceparent(cls) -> Header:
        """
        Return the source that reads the trace ID of ``traceparent`` (W3C Trace Context).
        """
        return cls("traceparent", parse=read_trace_id)

    @classmethod
    def amzn_trace_id(cls) -> Header:
        """
        Return the source that reads the ``Root`` of ``X-Amzn-Trace-Id``.
        """
        return cls("X-Amzn-Trace-Id", parse=read_amzn_root)


@dataclass(frozen=True)
class Cookie:
    """
    A cookie; its value is never proven.

    Args:
        name: the name of the cookie.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _TOKEN.fullmatch(self.name):
            raise PolicyError(
                f"Cookie({self.name!r}) is no cookie name: write Cookie('sid')",
                option="sources",
                value=self.name,
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
    A parameter of the query string; its value is never proven.

    Args:
        name: the name of the parameter.
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise PolicyError(
                f"Query({self.name!r}) has no name: write Query('session_id')",
                option="sources",
                value=self.name,
            )

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
    The one label of the host before a base domain; its value is never proven.

    Args:
        base: the base domain: ``"app.example"`` reads ``acme`` from
            ``acme.app.example``.
    """

    base: str

    def __post_init__(self) -> None:
        base = self.base.lower().strip(".") if isinstance(self.base, str) else ""
        if not _is_domain(base):
            meant = base.rpartition("://")[2].removeprefix("*.").partition("/")[0].partition(":")[0]
            raise PolicyError(
                f"Subdomain({self.base!r}) is no domain: "
                f"write Subdomain({meant if _is_domain(meant) else 'app.example'!r})",
                option="sources",
                value=self.base,
            )
        object.__setattr__(self, "base", base)

    def read(self, request: Request) -> list[str]:
        """
        Return the label in every ``Host`` line, in lower case; none if a line has no label.
        """
        hosts = request.headers.lines("host")
        found: list[str] = []
        for host in hosts:
            name = host.partition(":")[0].lower().rstrip(".")
            label = name.removesuffix(f".{self.base}")
            if label != name and _LABEL.fullmatch(label):
                found.append(label)
        return found if len(found) == len(hosts) else []


def _is_domain(text: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in text.split("."))


@dataclass(frozen=True)
class PathPrefix:
    """
    A segment of the path; its value is never proven.

    Args:
        template: the beginning of paths, with one segment in braces:
            ``"/tenants/{tenant_id}"`` reads ``acme`` from
            ``/tenants/acme/orders``. The other segments are exact; there are
            no wildcards.
    """

    template: str

    def __post_init__(self) -> None:
        segments = self.template.split("/") if isinstance(self.template, str) else []
        braced = [s for s in segments if _BRACED.fullmatch(s)]
        if not segments or segments[0] or len(braced) != 1 or self.template.count("{") != 1:
            why = "needs one segment in braces"
        elif any(_WILD.search(s) for s in segments if s not in braced):
            why = "has a wildcard, and segments without braces are exact"
        else:
            return
        raise PolicyError(
            f"PathPrefix({self.template!r}) {why}: write PathPrefix('/tenants/{{tenant_id}}')",
            option="sources",
            value=self.template,
        )

    def read(self, request: Request) -> list[str]:
        """
        Return the segment if the path matches the template, else nothing.
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


Source: TypeAlias = Header | Cookie | Query | Subdomain | PathPrefix | Baggage | Scope | Environ
