"""
``IDSpec``: the rules for one ID, checked when built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from idlanyard._policy.callables import find_call_fault
from idlanyard._policy.cookies import add_cookie, check_cookie
from idlanyard._policy.header_names import derive_header, find_plain_header_fault
from idlanyard._policy.id_check import IDCheck
from idlanyard._policy.keys import Signatures, parse_signing_keys
from idlanyard._policy.options import Options, explain_unknown, find_meant
from idlanyard._policy.proofs import Proof, asks_for_peers, check_proofs, proof_of
from idlanyard._policy.sources import Header, Source
from idlanyard.exceptions import PolicyError

if TYPE_CHECKING:
    from idlanyard._policy.request import Request

_store: Final = object.__setattr__
Echo: TypeAlias = bool | Literal["always", "unless set"]
Sink: TypeAlias = Literal["clear", "hash", "omit"]
STANDARD: Final = ("session_id", "user_id", "tenant_id")
POLICY_OPTIONS: Final = (
    "admission",
    "assume_unix",
    "enabled",
    "exclude",
    "expose",
    "extra",
    "hash_keys",
    "mark_private",
    "queue_keys",
    "shared_secret",
    "trusted_peers",
    "trusted_queue",
    "unsafe_server_ok",
)

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TAKEN_NAMES: Final = frozenset(
    {"customer_id", "as_attributes", "as_dict", "get", "is_empty", "proof", "provenance"}
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
class IDSpec(Options):
    r"""
    The rules for one ID.

    With ``charset="default"`` an ID has letters, digits and
    ``- _ . ~ : @ / + = |``, and begins with a letter or digit. This refuses
    some IDs in use: random ones that begin with ``-`` or ``_`` (nanoid,
    ``secrets.token_urlsafe``), ``o'brien@example.com``, ``alice#EXT#@example``,
    ``@alice:example.org``, ``{uuid}`` in braces and ``|7a1b.`` with a bar
    first. ``charset="visible"`` accepts all of these; it refuses only
    spaces, characters beyond ASCII and ``, ; " \ < >``.

    Args:
        name: the name for ``get_id(name)``: lower-case letters, digits and
            ``_``.
        header: the header of the ID: in responses, in the request that the
            application sees, in outgoing calls, and by default its source.
        sources: the sources that it is read from, in order; text means
            ``Header``. By default the header.
        accept: ``"anyone"`` may set the ID, or only a ``"proven"`` sender: a
            trusted peer, or one who knows the shared secret. An ID whose
            sources verify it is proven by them.
        required: refuse requests without the ID: 400, or 401 if it needs
            proof.
        on_invalid: ``"drop"`` treats a refused value as absent, ``"reject"``
            answers 400.
        mint: a function that makes an ID for requests without one, such as
            ``ids.token``.
        charset: ``"default"``, ``"visible"``, or a compiled pattern that the
            whole value must match, besides being visible. Clients choose the
            value: a pattern that backtracks, such as ``(a+)+b``, can be kept
            busy with it for seconds.
        max_length: the most characters, 1 to 1,024.
        signed: keys of at least 32 bytes, the new one first. Only IDs that
            this service has minted come in from clients: each is minted with
            a signature by the first key, ``ID.signature``, and one without a
            signature by any of the keys is refused. A client cannot make an
            ID up then, but it can pass on one that was minted for it.
        cookie: the name of a cookie that the session is also read from, and
            that responses set when the session is minted or rotated, such as
            ``"__Host-session"``; it needs *signed* and *forward*.
        must_match: a function of the accepted value and the request that
            returns whether they belong together; ``False`` is answered 403.
        echo: whether the response carries the ID, in place of a header of
            that name by the application; ``"unless set"`` leaves that header
            alone, and ``"always"`` adds the ID even if a cache may keep the
            response.
        forward: whether the application sees the ID in the request's header.
        propagate: whether outgoing calls to allowed origins carry the ID.
        job: whether background jobs carry the ID.
        log: ``"clear"``, ``"hash"`` or ``"omit"`` in log lines and ``repr``.
        span: the same for spans.
        attribute: the name of the ID on spans; ``"session.id"`` for
            ``session_id``.
        baggage: whether the ID is written into W3C baggage.

    Raises:
        PolicyError: an option is wrong; the message says what to write.
    """

    name: str
    header: str
    # The type has no None, since building the rules replaces it by the header.
    sources: Sequence[Source | str] = cast("Sequence[Source | str]", None)
    accept: Literal["anyone", "proven"] = "proven"
    required: bool = False
    on_invalid: Literal["drop", "reject"] = "drop"
    mint: Callable[[], str] | None = None
    charset: Literal["default", "visible"] | re.Pattern[str] = "default"
    max_length: int = 255
    signed: Sequence[str | bytes] | None = field(default=None, repr=False)
    cookie: str | None = None
    must_match: Callable[[str, Request], bool] | None = None
    echo: Echo = True
    forward: bool = True
    propagate: bool = True
    job: bool = True
    log: Sink = "clear"
    span: Sink = "clear"
    attribute: str | None = None
    baggage: bool = False
    _check: IDCheck = field(init=False, repr=False, compare=False)
    _signatures: Signatures | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_spec(self)
        _store(self, "sources", _parse_sources(self))
        _store(self, "_check", IDCheck(self.charset, self.max_length))
        keys = parse_signing_keys(self.name, self.signed)
        _store(self, "signed", keys)
        _store(self, "_signatures", None if keys is None else Signatures(self.name, keys))
        _check_signed(self)
        self._read_cookie()
        if self.attribute is None:
            _store(self, "attribute", _derive_attribute(self.name))
        if self.mint is not None:
            _check_mint(self)

    def _read_cookie(self) -> None:
        """
        Check the cookie of the ID, and read the ID from it as well.
        """
        check_cookie(
            self.name,
            self.cookie,
            is_signed=self.signed is not None,
            is_forwarded=self.forward is not False,
        )
        sources = add_cookie(self.cookie, sources_of(self))
        check_proofs(self.name, self.accept, sources)
        _store(self, "sources", sources)

    @classmethod
    def _refuse_positions(cls, args: tuple[object, ...], places: list[str], /) -> str:
        name, header = (*args, "")[:2]
        sentence = super()._refuse_positions(args, places)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return sentence
        header = header if isinstance(header, str) and header else derive_header(name)
        return f"{sentence}: write {cls.__name__}(name={name!r}, header={header!r})"

    @classmethod
    def _refuse_name(cls, name: str, _value: object, names: list[str], /) -> str:
        return explain_unknown_rule(cls.__name__, name, names)


check_of: Final[Callable[[IDSpec], IDCheck]] = attrgetter("_check")
"""
Returns the check that every value of an ID has to pass.
"""

signatures_of: Final[Callable[[IDSpec], Signatures | None]] = attrgetter("_signatures")
"""
Returns the signatures that IDs from clients need, or ``None``.
"""

sources_of: Final[Callable[[IDSpec], tuple[Source, ...]]] = attrgetter("sources")
"""
Returns the sources of an ID, each of them a ``Source``: text has become a ``Header``.
"""


def needs_sender(spec: IDSpec) -> bool:
    """
    Return whether an ID is believed from trusted senders only.
    """
    if proof_of(sources_of(spec)) is Proof.SENDER:
        return spec.accept == "proven"
    return asks_for_peers(sources_of(spec))


def name_headers(spec: IDSpec) -> list[str]:
    """
    Return the names of the headers that an ID is read from, or of its own if it is read elsewhere.
    """
    headers = [source.name for source in sources_of(spec) if isinstance(source, Header)]
    return list(dict.fromkeys(headers)) or [spec.header]


def explain_unknown_rule(rule: str, name: str, names: list[str]) -> str:
    """
    Return the message for an option that ``IDSpec`` does not have.
    """
    policy = None if find_meant(name, names) else find_meant(name, POLICY_OPTIONS)
    if policy is None:
        return explain_unknown(rule, name, names)
    return f"{rule} has no option {name!r}: give {policy} to Policy, beside the IDs"


def _check_spec(spec: IDSpec) -> None:
    """
    Check the options of one ID each by itself, all but its sources.
    """
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise PolicyError.about(
            "name", f"{spec.name!r} is no ID: write lower-case, as in name='device_id'"
        )
    if spec.name in _TAKEN_NAMES:
        raise PolicyError.about(
            "name", f"{spec.name!r} is taken: choose another, as in name='device_id'"
        )
    _check_header(spec)
    for option, choices in _CHOICES.items():
        value = getattr(spec, option)
        if not any(
            value is choice or (value == choice and value.__class__ is str) for choice in choices
        ):
            allowed = " or ".join(repr(choice) for choice in choices)
            raise PolicyError.about(option, f"of {spec.name} is {value!r}: write {allowed}", value)
    _check_functions(spec)
    _check_charset(spec)
    if type(spec.max_length) is not int or not 1 <= spec.max_length <= 1024:
        raise PolicyError.about(
            "max_length",
            f"of {spec.name} is a number from 1 to 1024: write max_length=255",
            spec.max_length,
        )


def _check_functions(spec: IDSpec) -> None:
    """
    Refuse functions that cannot be called as they will be, and an empty attribute.
    """
    fault = None if spec.mint is None else find_call_fault(spec.mint)
    if fault is not None:
        raise PolicyError.about("mint", f"of {spec.name} {fault}: write mint=ids.token")
    match = spec.must_match
    fault = None if match is None else find_call_fault(match, "the value", "the request")
    if fault is not None:
        # The coroutine of an async function is true, so every ID would match every request.
        raise PolicyError.about(
            "must_match",
            f"of {spec.name} {fault}: write "
            f"must_match=lambda value, request: request.headers.get('X-Expected') == value",
        )
    attribute: object = spec.attribute
    if attribute is not None and (not isinstance(attribute, str) or not attribute.strip()):
        usual = _derive_attribute(spec.name)
        raise PolicyError.about(
            "attribute",
            f"of {spec.name} is its name on spans: write attribute={usual!r}, or span='omit' "
            f"for no attribute",
            attribute,
        )


def _derive_attribute(name: str) -> str:
    return ".".join(name.rsplit("_", 1))


def _check_charset(spec: IDSpec) -> None:
    charset: object = spec.charset
    if isinstance(charset, re.Pattern):
        pattern: object = charset.pattern
        if isinstance(pattern, str):
            return
        given = "a pattern of bytes"
    elif charset in ("default", "visible"):
        return
    else:
        given = "a function" if callable(charset) else repr(charset)
    raise PolicyError.about(
        "charset",
        f"of {spec.name} is 'default', 'visible' or a compiled pattern, not {given}: "
        f"write charset=re.compile('[0-9a-fA-F-]{{32,36}}')",
        charset,
    )


def _check_header(spec: IDSpec) -> None:
    """
    Refuse a header whose name is none, or that HTTP or proxies give a meaning of its own.
    """
    header: object = spec.header
    if isinstance(header, Header):
        raise PolicyError.about(
            "header",
            f"of {spec.name} is a name, and a Header goes into sources: "
            f"write header={_suggest_header_name(spec, header.name)!r}",
            header,
        )
    fault = find_plain_header_fault(header)
    if fault is None:
        return
    source = f", sources=[{fault.source}]" if _may_read(spec, fault.source) else ""
    why = f"{header!r} {fault.why}{_explain_source(spec, fault.source)}"
    instead = _suggest_header_name(spec, fault.instead)
    raise PolicyError.about("header", f"{why}: write header={instead!r}{source}", header)


def _suggest_header_name(spec: IDSpec, name: str) -> str:
    """
    Return *name* if it may be a header of ours, else the usual header of the ID.
    """
    return name if name and find_plain_header_fault(name) is None else derive_header(spec.name)


def _explain_source(spec: IDSpec, source: str) -> str:
    if not source or _may_read(spec, source):
        return ""
    return f", and {source} reads it for an ID that anyone may set"


def _may_read(spec: IDSpec, source: str) -> bool:
    return source.startswith("Header") or (source != "" and spec.accept == "anyone")


def _parse_sources(spec: IDSpec) -> tuple[Source, ...]:
    """
    Return the sources of an ID: text becomes a ``Header``, and by default its own header is read.
    """
    given = cast("Any", spec.sources)
    if given is None:
        return (Header(spec.header),)
    if isinstance(given, str | Source):
        raise _sources_error(spec, given)
    try:
        entries: list[object] = list(given)
    except TypeError:
        raise PolicyError.about(
            "sources",
            f"of {spec.name} is a list: write sources=[{_suggest_header_name(spec, '')!r}]",
            given,
        ) from None
    if not entries:
        option = spec.name.removesuffix("_id")
        out = f", or {option}=None for none" if spec.name in STANDARD else ""
        raise PolicyError.about(
            "sources",
            f"of {spec.name} is empty: leave it out to read {spec.header}{out}",
            given,
        )
    sources = tuple(_parse_source(spec, entry) for entry in entries)
    check_proofs(spec.name, spec.accept, sources)
    return sources


def _sources_error(spec: IDSpec, given: str | Source) -> PolicyError:
    """
    Return the error for sources that are not a list.
    """
    parts: list[str | Source] = [given]
    if isinstance(given, str):
        names = [part for part in re.split(r"[,\s]+", given) if part] or [
            _suggest_header_name(spec, "")
        ]
        parts = [_correct_header(name) for name in names]
    sources = [_parse_source(spec, part) for part in parts]
    if any(isinstance(source, Header) and source.reader for source in sources):
        # The repr of a parse function is no code that could be suggested.
        instead = "put it into brackets"
    else:
        own_word = not all(isinstance(source, Header) for source in sources)
        anyone = ", accept='anyone'" if own_word and spec.accept == "proven" else ""
        instead = f"write sources=[{', '.join(map(repr, parts))}]{anyone}"
    return PolicyError.about("sources", f"of {spec.name} is a list: {instead}", given)


def _correct_header(name: str) -> str:
    fault = find_plain_header_fault(name)
    return name if fault is None else fault.instead or name


def _parse_source(spec: IDSpec, entry: object) -> Source:
    if isinstance(entry, str):
        entry = _parse_header(spec, entry)
    if isinstance(entry, Header) and entry.reader is None:
        _parse_header(spec, entry.name)
    if not isinstance(entry, Source):
        given = type(entry) if not isinstance(entry, type) else entry
        home = "" if given.__module__ == "builtins" else f" ({given.__module__})"
        raise PolicyError.about(
            "sources",
            f"of {spec.name} has {entry!r}{home}: write a header's name, or Header, Cookie, Query, "
            f"Subdomain, PathPrefix or Baggage of idlanyard, such as Header({spec.header!r})",
            entry,
        )
    if isinstance(entry, Header) and entry.name.lower() == "connection":
        raise PolicyError.about(
            "sources", f"of {spec.name} has {entry!r}, which names other headers", entry
        )
    return entry


def _parse_header(spec: IDSpec, name: str) -> Header:
    """
    Return the source that reads the whole line of a header.
    """
    fault = find_plain_header_fault(name)
    if fault is None:
        return Header(name)
    if _may_read(spec, fault.source):
        instead = f"write {fault.source}"
    elif fault.why.startswith("has a meaning"):
        instead = "read the ID out of it with Header(name, parse=...), or use a header of your own"
    else:
        instead = f"write {_suggest_header_name(spec, fault.instead)!r}"
    raise PolicyError.about(
        "sources",
        f"of {spec.name} has {name!r}, which {fault.why}"
        f"{_explain_source(spec, fault.source)}: {instead}",
        name,
    )


def _check_signed(spec: IDSpec) -> None:
    """
    Refuse keys for an ID that is never minted, or that a source verifies by itself.
    """
    if signatures_of(spec) is None:
        return
    if spec.mint is None:
        raise PolicyError.about(
            "signed",
            f"of {spec.name} accepts what was minted here, and nothing mints it: write "
            f"mint=ids.token, or leave signed out",
        )
    if proof_of(sources_of(spec)) in (Proof.SIGNATURE, Proof.SERVER):
        raise PolicyError.about(
            "signed",
            f"of {spec.name} accepts what was minted here, and its sources are proven by "
            f"themselves: leave one of them out",
        )


def _check_mint(spec: IDSpec) -> None:
    """
    Call the generator once: its value must pass the check of the ID.
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
    signatures = signatures_of(spec)
    reason = check_of(spec).reason(made if signatures is None else signatures.sign(made))
    if reason is not None:
        raise PolicyError.about(
            "mint",
            f"of {spec.name} makes IDs that are refused, {reason}: use idlanyard.ids.token, "
            f"or allow them with charset or max_length",
        )
