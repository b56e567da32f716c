"""
``IDSpec``: the rules for one ID, checked when built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from idlanyard._sources import Header, Source
from idlanyard.exceptions import PolicyError
from idlanyard.ids import IDCheck

if TYPE_CHECKING:
    from idlanyard._request import Request

_store: Final = object.__setattr__
Sink: TypeAlias = Literal["clear", "hash", "omit"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TAKEN_NAMES: Final = frozenset(
    {"customer_id", "as_attributes", "as_dict", "as_shown", "get", "is_empty", "provenance"}
)
_TAKEN_HEADERS: Final = frozenset(
    "accept authorization cache-control connection content-length content-type cookie expires "
    "forwarded host set-cookie te trailer transfer-encoding upgrade vary x-forwarded-for "
    "x-forwarded-host x-forwarded-proto x-real-ip".split()
)
_SINKS: Final = ("clear", "hash", "omit")
_CHOICES: Final[dict[str, tuple[object, ...]]] = {
    "accept": ("anyone", "proven"),
    "required": (True, False),
    "on_invalid": ("drop", "reject"),
    "echo": (True, False, "always", "unless set"),
    "forward": (True, False),
    "propagate": (True, False),
    "job": (True, False),
    "log": _SINKS,
    "span": _SINKS,
    "baggage": (True, False),
}


@dataclass(frozen=True, kw_only=True)
class IDSpec:
    """
    The rules for one ID.

    Args:
        name: as in ``get_id(name)``: lower-case letters, digits and ``_``.
        header: the header that carries it: echoed, shown to the application
            and sent, and by default read.
        sources: where it is read from, in order; text means ``Header``.
            Left out, it is the header.
        accept: ``"anyone"`` may set it, or only who is ``"proven"`` (R6).
        required: refuse requests without it: 400, or 401 where it needs
            proof (R8).
        on_invalid: ``"drop"`` treats a value that is refused as absent,
            ``"reject"`` answers 400.
        mint: makes a value where there is none, as ``ids.token`` does.
        charset: ``"default"``, ``"visible"`` or a compiled pattern (R7).
        max_length: the most characters, 1 to 1,024.
        must_match: gets the accepted value and the request, and says whether
            they fit together; ``False`` is answered 403.
        echo: whether the response carries it, in place of the application's
            own header of that name; ``"unless set"`` leaves that alone, and
            ``"always"`` writes it also where a cache may keep the response.
        forward: whether the application sees it in the request's header.
        propagate: whether outgoing calls to allowed origins carry it.
        job: whether background jobs carry it.
        log: ``"clear"``, ``"hash"`` or ``"omit"`` in log lines and ``repr``.
        span: the same for spans.
        attribute: its name on spans; ``"session.id"`` for ``session_id``.
        baggage: whether it is written into W3C baggage.

    Raises:
        PolicyError: a rule that cannot be followed.
    """

    name: str
    header: str
    sources: Sequence[Source | str] = ()
    accept: Literal["anyone", "proven"] = "proven"
    required: bool = False
    on_invalid: Literal["drop", "reject"] = "drop"
    mint: Callable[[], str] | None = None
    charset: Literal["default", "visible"] | re.Pattern[str] = "default"
    max_length: int = 255
    must_match: Callable[[str, Request], bool] | None = None
    echo: bool | Literal["always", "unless set"] = True
    forward: bool = True
    propagate: bool = True
    job: bool = True
    log: Sink = "clear"
    span: Sink = "clear"
    attribute: str | None = None
    baggage: bool = False
    check: IDCheck = field(init=False, repr=False, compare=False)
    read_from: tuple[Source, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_spec(self)
        _store(self, "read_from", _parse_sources(self))
        _store(self, "sources", self.read_from)
        _store(self, "check", IDCheck(self.charset, self.max_length))
        if self.attribute is None:
            _store(self, "attribute", ".".join(self.name.rsplit("_", 1)))
        if self.mint is not None:
            _check_mint(self)


def _check_spec(spec: IDSpec) -> None:
    """
    Check the options of one ID that stand by themselves.
    """
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise PolicyError.about(
            "name", f"{spec.name!r} is no ID: write lower-case, as in 'device_id'"
        )
    if spec.name in _TAKEN_NAMES:
        raise PolicyError.about(
            "name", f"{spec.name!r} is taken: choose another, as in 'device_id'"
        )
    check_header(spec.header, "header")
    for option, choices in _CHOICES.items():
        value = getattr(spec, option)
        if not any(
            value is choice or (value == choice and value.__class__ is str) for choice in choices
        ):
            allowed = " or ".join(repr(choice) for choice in choices)
            raise PolicyError.about(option, f"of {spec.name} is {value!r}: write {allowed}", value)
    for option in ("mint", "must_match"):
        if getattr(spec, option) is not None and not callable(getattr(spec, option)):
            raise PolicyError.about(option, f"of {spec.name} takes a function, such as ids.token")
    if spec.charset not in ("default", "visible") and not _is_text_pattern(spec.charset):
        raise PolicyError.about(
            "charset", f"of {spec.name} is 'default', 'visible' or re.compile('...')", spec.charset
        )
    if type(spec.max_length) is not int or not 1 <= spec.max_length <= 1024:
        raise PolicyError.about(
            "max_length", f"of {spec.name} is a number from 1 to 1024", spec.max_length
        )


def _is_text_pattern(charset: object) -> bool:
    pattern: object = getattr(charset, "pattern", None)
    return isinstance(charset, re.Pattern) and isinstance(pattern, str)


def check_header(name: object, option: str) -> None:
    """
    Refuse what is no header's name, or one that HTTP or a proxy gives a meaning.

    Raises:
        PolicyError: it is one, said of *option*.
    """
    Header(name)  # type: ignore[arg-type]
    if str(name).lower().replace("_", "-") in _TAKEN_HEADERS:
        raise PolicyError.about(
            option, f"{name!r} has a meaning of its own: use another, as 'X-Session-ID'"
        )


def _parse_sources(spec: IDSpec) -> tuple[Source, ...]:
    """
    Return the sources of an ID, text made a ``Header``, the header where none is given.
    """
    given = spec.sources
    if isinstance(given, str | Source):
        raise PolicyError.about(
            "sources", f"of {spec.name} is a list: write sources=[{given!r}]", given
        )
    try:
        sources = tuple(Header(s) if isinstance(s, str) else s for s in given)
    except TypeError:
        raise PolicyError.about("sources", f"of {spec.name} is a list", given) from None
    sources = sources or (Header(spec.header),)
    for source in sources:
        if not isinstance(source, Source):
            raise PolicyError.about(
                "sources",
                f"of {spec.name} has {source!r}: write a header's name, Header, Cookie, Query, "
                f"Subdomain, PathPrefix or Baggage",
                source,
            )
        if isinstance(source, Header) and source.parse is None:
            check_header(source.name, "sources")
    if spec.accept == "proven":
        _check_proof(spec, sources)
    return sources


def _check_proof(spec: IDSpec, sources: tuple[Source, ...]) -> None:
    """
    Refuse sources that are the client's own word for an ID that needs proof (R5).
    """
    for source in sources:
        if not isinstance(source, Header):
            raise PolicyError.about(
                "sources",
                f"of {spec.name} has {source!r}, the client's own word, which no proxy vouches "
                f"for: read proven IDs from headers only, or write accept='anyone'",
                source,
            )


def _check_mint(spec: IDSpec) -> None:
    """
    Call the generator once: what it makes must pass the ID's own check (S10).
    """
    make: Callable[[], object] | None = spec.mint
    try:
        made = make() if make else None
    except Exception as error:
        raise PolicyError.about("mint", f"of {spec.name} raises {type(error).__name__}") from error
    if not isinstance(made, str):
        raise PolicyError.about(
            "mint", f"of {spec.name} returns {type(made).__name__}: return a str"
        )
    reason = spec.check.reason(made)
    if reason is not None:
        raise PolicyError.about(
            "mint",
            f"of {spec.name} makes IDs that are refused, {reason}: use idlanyard.ids.token, "
            f"or allow them with charset or max_length",
        )
